import t from 'tap';
import { decodeDocument } from '../../src/model/document.ts';
import { checkRateLimit, compileLimits } from '../../src/traffic/limit.ts';

function rateLimit(spec: object, namespace = 'default') {
  const document = decodeDocument(
    { apiVersion: 'mesolite/v1', kind: 'RateLimit', metadata: { name: 'l', namespace }, spec },
    'l.yaml',
  );
  if (document.kind !== 'RateLimit') throw new TypeError(document.kind);
  return document;
}

const tokenBucket = { maxTokens: 10, fillInterval: '500ms' };
const web = { namespace: 'default', serviceAccount: 'web', labels: { app: 'web' } };

t.test('a limit holds in its namespace, or in all from the root namespace, where its labels are', async t => {
  const limits = compileLimits(
    [
      rateLimit({ tokenBucket }),
      rateLimit(
        { tokenBucket: { ...tokenBucket, tokensPerFill: 5 }, selector: { matchLabels: { app: 'web' } } },
        'root',
      ),
      rateLimit({ tokenBucket }, 'other'),
      rateLimit({ tokenBucket, selector: { matchLabels: { app: 'api' } } }),
    ],
    'root',
  );
  const chosen = limits.forWorkload(web);
  t.same(
    chosen.map(({ name, rate }) => [name, rate]),
    [
      ['default/l', { burst: 10, perSecond: 2 }],
      ['root/l', { burst: 10, perSecond: 10 }],
    ],
  );
  t.equal(limits.forWorkload(web), chosen);
});

t.test('what makes no sense is refused with its place', async t => {
  const cases: readonly (readonly [object, RegExp])[] = [
    [{}, /^l\.yaml: spec\.tokenBucket: required/],
    [{ tokenBucket: { ...tokenBucket, fillInterval: '49ms' } }, /tokenBucket\.fillInterval: expected at least 50ms/],
    [{ tokenBucket: { ...tokenBucket, maxTokens: 0 } }, /tokenBucket\.maxTokens/],
    [{ tokenBucket, per: 'header' }, /per: header goes with header/],
    [{ tokenBucket, header: 'x-key' }, /per: header goes with header/],
    [{ tokenBucket, per: 'header', header: 'a b' }, /spec\.header: expected the name of a header/],
    [{ tokenBucket, per: 'method' }, /spec\.per/],
    [{ tokenBucket, action: 'DENY' }, /spec\.action: unknown field/],
  ];
  for (const [spec, message] of cases) t.throws(() => rateLimit(spec), { code: 'INVALID_INPUT', message });
});

t.test('what hardly means what it says is taken with a warning', async t => {
  const document = rateLimit({ tokenBucket: { ...tokenBucket, tokensPerFill: 11 } });
  t.equal(checkRateLimit(document, { servesTcp: true }).warnings.length, 2);
  t.same(checkRateLimit(rateLimit({ tokenBucket }), { servesTcp: false }), { errors: [], warnings: [] });
});

import t from 'tap';
import { run } from '../fixtures/cli-run.ts';

const policy = (spec: object) =>
  JSON.stringify({ apiVersion: 'security.istio.io/v1', kind: 'AuthorizationPolicy', metadata: { name: 'p' }, spec });
const analyze = (stdin: string, ...more: string[]) => run(['analyze', '--offline', '-f', '-', ...more], { stdin });

t.test('each trap is told with its code, its place and what to do', async t => {
  const { code, out } = await analyze(policy({}));
  t.equal(code, 0);
  t.match(
    out,
    /^ALLOW_WITHOUT_RULES AuthorizationPolicy default\/p: spec\.rules\n {4}there are none: .*\n {4}fix: .*\n$/,
  );
  t.match(JSON.parse((await analyze(policy({}), '-o', 'json')).out), { warnings: [{ code: 'ALLOW_WITHOUT_RULES' }] });
});

t.test('what a master would refuse is refused, of whatever kind', async t => {
  const networking = 'networking.istio.io/v1';
  const refused: [string, string, object, RegExp][] = [
    [
      'security.istio.io/v1',
      'RequestAuthentication',
      { jwtRules: [{ issuer: 'i', jwks: '{}' }] },
      /jwtRules\[0\]\.jwks: /,
    ],
    [
      networking,
      'VirtualService',
      { hosts: ['example.com'], http: [{ directResponse: { status: 200 } }] },
      /hosts\[0\]: /,
    ],
    [networking, 'DestinationRule', { host: 'example.com' }, /spec\.host: expected a service/],
  ];
  for (const [apiVersion, kind, spec, expected] of refused) {
    const { code, err } = await analyze(JSON.stringify({ apiVersion, kind, metadata: { name: 'd' }, spec }));
    t.equal(code, 2, kind);
    t.match(err, expected);
  }
});

t.test('it fails where it is asked to, and where there is no answer', async t => {
  t.equal((await analyze(policy({}), '--strict')).code, 1);
  const sound = policy({ rules: [{ from: [{ source: { principals: ['*'] } }] }] });
  t.match(await analyze(sound, '--strict'), { code: 0, out: '', err: 'no warnings\n' });
  t.match(await analyze(policy({ rules: 1 })), { code: 2, out: '' });
});

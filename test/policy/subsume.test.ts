import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { readRule } from '../../src/policy/fields.ts';
import { covers } from '../../src/policy/subsume.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';
import { mesh, workload } from '../fixtures/policy-properties.ts';
import { policy as anyPolicy, request } from '../fixtures/random-policies.ts';

type Action = 'ALLOW' | 'DENY';

function make(rule: object, action: Action, namespace = 'shop') {
  return policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name: 'p', namespace },
    spec: { action, rules: [rule] },
  });
}

function placed(rule: object, action: Action, namespace = 'shop') {
  const [first = {}] = make(rule, action, namespace).spec.rules ?? [];
  return { rule: readRule(first, ''), action, scope: { trustDomain: 'td', namespace } };
}

/** Does a rule of this action match, by the engine? */
function matcher(rule: object, action: Action): (asked: AuthorizationRequest) => boolean {
  const compiled = compilePolicy({ ...mesh, meshDefault: 'allow', policies: [make(rule, action)] }).forWorkload(
    workload,
  );
  return asked => authorize(compiled, asked).policy !== undefined;
}

const oneRule = anyPolicy(fc.constant('ALLOW')).map(({ spec }) => spec.rules?.[0] ?? {});
const action = fc.constantFrom<Action>('ALLOW', 'DENY');

t.test('what is said to cover another rule matches all that it matches, whatever the rules', async t => {
  let claimed = 0;
  let tried = 0;
  fc.assert(
    fc.property(
      fc.array(fc.tuple(oneRule, action), { minLength: 2, maxLength: 6 }),
      fc.array(request, { minLength: 30, maxLength: 60 }),
      (rules, requests) => {
        const all = rules.map(([rule, action]) => ({
          rule,
          placed: placed(rule, action),
          matches: matcher(rule, action),
        }));
        for (const wide of all) {
          for (const narrow of all) {
            if (wide === narrow || !covers(wide.placed, narrow.placed)) continue;
            claimed++;
            for (const asked of requests) {
              if (!narrow.matches(asked)) continue;
              tried++;
              if (!wide.matches(asked)) {
                throw new Error(`${JSON.stringify(wide.rule)} does not cover ${JSON.stringify(narrow.rule)}`);
              }
            }
          }
        }
      },
    ),
    { seed: 11, numRuns: 400 },
  );
  t.ok(claimed > 100 && tried > 500, `${claimed} claims, tried by ${tried} requests`);
});

const to = (operation: object) => ({ to: [{ operation }] });
const from = (source: object) => ({ from: [{ source }] });
const says = (wide: object, narrow: object) => covers(placed(wide, 'ALLOW'), placed(narrow, 'ALLOW'));

t.test('what plainly covers another rule is seen to', async t => {
  const cases: [object, object][] = [
    [{}, to({ paths: ['/a'] })],
    [to({ paths: ['/a*'] }), to({ paths: ['/a', '/a/b*'], methods: ['GET'] })],
    [to({ paths: ['*'] }), to({ paths: ['/a/{*}'] })],
    [to({ paths: ['/a/*'] }), to({ paths: ['/a/{*}/b'] })],
    [to({ paths: ['/a/{*}'] }), to({ paths: ['/a/b'] })],
    [to({ paths: ['*.html'] }), to({ paths: ['/index.html', '*.en.html'] })],
    [to({ hosts: ['*.Example'] }), to({ hosts: ['A.example'] })],
    [to({ notPaths: ['/admin*'] }), to({ paths: ['/info'] })],
    [to({ notPaths: ['/admin/x'] }), to({ notPaths: ['/admin*'] })],
    [from({ ipBlocks: ['10.0.0.0/8'] }), from({ ipBlocks: ['10.1.0.0/16', '10.2.3.4'] })],
    [from({ principals: ['*'] }), { when: [{ key: 'source.principal', values: ['td/*'] }] }],
    [to({ ports: ['80', '81'] }), to({ ports: ['80'] })],
    [{ to: [{ operation: { methods: ['GET'] } }, { operation: { methods: ['PUT'] } }] }, to({ methods: ['PUT'] })],
  ];
  for (const [wide, narrow] of cases) {
    t.ok(says(wide, narrow), `${JSON.stringify(wide)} covers ${JSON.stringify(narrow)}`);
    t.notOk(says(narrow, wide), `and not the other way round`);
  }
});

t.test('two spellings of one value are the same', async t => {
  t.ok(says(from({ principals: ['cluster.local/ns/a/sa/b'] }), from({ principals: ['td/ns/a/sa/b'] })));
  t.ok(says(from({ serviceAccounts: ['shop/web'] }), from({ serviceAccounts: ['web'] })));
});

t.test('nothing is claimed where a value may slip by', async t => {
  t.notOk(says(from({ principals: ['*'] }), from({ notPrincipals: ['a'] })), 'callers without a certificate');
  t.notOk(says(from({ notNamespaces: ['a'] }), {}), 'no condition at all');
  const claim = (more: object) => ({ when: [{ key: 'request.auth.claims[group]', ...more }] });
  t.notOk(says(claim({ notValues: ['b'] }), claim({ values: ['a'] })), 'a claim may be a list');
  t.ok(says(claim({ values: ['a*'] }), claim({ values: ['ab'] })));
  t.notOk(covers(placed(to({ methods: ['GET'] }), 'ALLOW'), placed(to({ methods: ['GET'] }), 'DENY')), 'over TCP');
  t.ok(covers(placed(to({ methods: ['GET'] }), 'DENY'), placed(to({ methods: ['GET'] }), 'ALLOW')));
  t.notOk(
    covers(
      placed(from({ serviceAccounts: ['a'] }), 'ALLOW', 'x'),
      placed(from({ serviceAccounts: ['a'] }), 'ALLOW', 'y'),
    ),
  );
});

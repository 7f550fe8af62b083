import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationPolicy } from '../../src/model/document.ts';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';
import { agrees, decide, policyProperties, requests } from '../fixtures/policy-properties.ts';
import { hosts, paths, principals } from '../fixtures/random-policies.ts';

for (const [name, property] of Object.entries(policyProperties)) {
  t.test(name, async () => fc.assert<unknown[]>(property, { seed: 1, numRuns: 500 }));
}

t.test('the engine agrees with it on many narrow rules, which the index keeps apart', async () => {
  const picked = (...words: string[]) => fc.uniqueArray(fc.constantFrom(...words), { minLength: 1, maxLength: 2 });
  const narrowSource = fc.oneof(
    { weight: 4, arbitrary: fc.record({ principals: picked(...principals, 'td/ns/shop/*', '*/sa/web') }) },
    { weight: 2, arbitrary: fc.record({ namespaces: picked('shop', 'bank', 'b*') }) },
    { weight: 1, arbitrary: fc.record({ ipBlocks: picked('10.0.0.0/24', '10.0.1.0/24') }) },
  );
  const narrowOperation = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        paths: picked(...paths, '/a/b*', '/admin*', '/a/*', '*/c', '*/admin/x', '/a/{*}'),
        methods: picked('GET'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ hosts: picked(...hosts, '*.shop'), methods: picked('POST') }) },
  );
  const several = <T>(item: fc.Arbitrary<T>) => fc.array(item, { minLength: 1, maxLength: 2 });
  const narrow = fc.record({
    from: several(narrowSource.map(source => ({ source }))),
    to: several(narrowOperation.map(operation => ({ operation }))),
  });
  const rules = fc.array(narrow, { minLength: 5, maxLength: 40, size: 'max' });
  fc.assert(
    fc.property(rules, rules, requests, (allowing, denying, requests) => {
      agrees([allow('a', allowing)], 'allow', requests);
      agrees([deny('d', denying.slice(0, 8)), allow('a', allowing)], 'deny', requests);
    }),
    { seed: 19, numRuns: 300 },
  );
});

t.test('one big policy whose rules differ in one attribute agrees with a plain interpreter', async () => {
  const numbered = fc.record({
    by: fc.constantFrom('principal', 'path', 'prefix', 'suffix', 'host', 'namespace', 'account'),
    count: fc.integer({ min: 5, max: 200 }),
    asked: fc.integer({ min: 0, max: 220 }),
  });
  fc.assert(
    fc.property(numbered, ({ by, count, asked }) => {
      const ruleFor = (i: number) => {
        if (by === 'principal') return { from: [{ source: { principals: [`td/ns/n${i}/sa/s`] } }] };
        if (by === 'namespace') return { from: [{ source: { namespaces: [`n${i}`] } }] };
        if (by === 'account') return { from: [{ source: { serviceAccounts: [`n${i}/s`] } }] };
        if (by === 'host') return { to: [{ operation: { hosts: [`H${i}.example`] } }] };
        if (by === 'prefix') return { to: [{ operation: { paths: [`/p/${i}/*`] } }] };
        return { to: [{ operation: { paths: [by === 'suffix' ? `*/${i}/x` : `/p/${i}/x`] } }] };
      };
      const policies = [
        allow(
          'big',
          Array.from({ length: count }, (_, i) => ruleFor(i)),
        ),
      ];
      const verdict = decide(policies, {
        ...plain,
        principal: `td/ns/n${asked}/sa/s`,
        host: `h${asked}.EXAMPLE`,
        path: `/p/${asked}/x`,
      });
      if (verdict.allow !== asked < count || (verdict.allow && verdict.rule !== asked)) {
        throw new Error(`${by} ${asked} of ${count}: ${JSON.stringify(verdict)}`);
      }
    }),
    { seed: 2, numRuns: 100 },
  );
});

const plain: AuthorizationRequest = {
  protocol: 'http',
  principal: 'td/ns/shop/sa/web',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  method: 'GET',
  host: 'web.shop',
  path: '/',
};

function make(action: string, name: string, rules: unknown, extra: object = {}): AuthorizationPolicy {
  return policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'shop', ...extra },
    spec: { action, rules },
  });
}
const allow = (name: string, rules: unknown) => make('ALLOW', name, rules);
const deny = (name: string, rules: unknown) => make('DENY', name, rules);

t.test('without any policy the mesh default decides', async t => {
  t.same(decide([], plain, 'allow'), { allow: true, reason: 'no-policy' });
  t.same(decide([], plain, 'deny'), { allow: false, reason: 'mesh-default' });
});

t.test('a DENY policy that does not match leaves the decision to the mesh default', async t => {
  const policies = [deny('d', [{ to: [{ operation: { paths: ['/x'] } }] }])];
  t.equal(decide(policies, plain, 'allow').allow, true);
  t.equal(decide(policies, plain, 'deny').allow, false);
});

t.test('rules: an empty rule always matches, no rules never do', async t => {
  t.same(decide([allow('a', [{}])], plain), { allow: true, reason: 'policy-allow', policy: 'shop/a', rule: 0 });
  t.same(decide([allow('a', [])], plain), { allow: false, reason: 'no-allow-matched' });
  t.same(decide([deny('d', [{}])], plain), { allow: false, reason: 'policy-deny', policy: 'shop/d', rule: 0 });
  t.equal(decide([deny('d', [])], plain).allow, true);
});

t.test('an AUDIT policy decides nothing', async t => {
  t.equal(decide([make('AUDIT', 'a', [{}])], plain, 'deny').allow, false);
  t.equal(decide([make('AUDIT', 'a', [])], plain, 'allow').reason, 'no-policy');
});

t.test('a plaintext caller matches no positive identity and every negative one', async t => {
  const caller = { ...plain, principal: undefined };
  for (const field of ['principals', 'namespaces']) {
    t.equal(decide([allow('a', [{ from: [{ source: { [field]: ['*'] } }] }])], caller).allow, false, field);
  }
  for (const field of ['notPrincipals', 'notNamespaces', 'notServiceAccounts']) {
    t.equal(decide([allow('a', [{ from: [{ source: { [field]: ['x'] } }] }])], caller).allow, true, field);
  }
});

t.test('cluster.local points to the trust domain of the mesh', async t => {
  const policies = [allow('a', [{ from: [{ source: { principals: ['cluster.local/ns/shop/sa/web'] } }] }])];
  t.equal(decide(policies, plain).allow, true);
  t.equal(decide(policies, { ...plain, principal: 'other/ns/shop/sa/web' }).allow, false);
});

t.test('a service account without a namespace is one of the policy’s namespace', async t => {
  const policies = [allow('a', [{ from: [{ source: { serviceAccounts: ['web', 'bank/teller'] } }] }])];
  t.equal(decide(policies, plain).allow, true);
  t.equal(decide(policies, { ...plain, principal: 'td/ns/bank/sa/web' }).allow, false);
  t.equal(decide(policies, { ...plain, principal: 'td/ns/bank/sa/teller' }).allow, true);
});

t.test('in a namespace a star stands for any characters, within the name', async t => {
  const policies = [allow('a', [{ from: [{ source: { namespaces: ['s*p', '*x*'] } }] }])];
  t.equal(decide(policies, plain).allow, true);
  t.equal(decide(policies, { ...plain, principal: 'td/ns/axb/sa/web' }).allow, true);
  t.equal(decide(policies, { ...plain, principal: 'td/ns/s/sa/p' }).allow, false);
});

t.test('hosts match without regard to case, methods and paths with it', async t => {
  const to = (operation: object) => [allow('a', [{ to: [{ operation }] }])];
  t.equal(decide(to({ hosts: ['Web.Shop'] }), { ...plain, host: 'WEB.shop' }).allow, true);
  t.equal(decide(to({ methods: ['GET'] }), { ...plain, method: 'get' }).allow, false);
  t.equal(decide(to({ paths: ['/A'] }), { ...plain, path: '/a' }).allow, false);
});

t.test('addresses are compared as addresses', async t => {
  const from = (source: object) => [allow('a', [{ from: [{ source }] }])];
  t.equal(decide(from({ ipBlocks: ['10.0.0.0/24'] }), { ...plain, sourceIp: '::ffff:10.0.0.7' }).allow, true);
  t.equal(decide(from({ ipBlocks: ['fe80::/10'] }), { ...plain, sourceIp: 'fe80::1%eth0' }).allow, true);
  t.equal(decide(from({ remoteIpBlocks: ['10.0.0.0/24'] }), plain).allow, false);
  t.equal(decide(from({ remoteIpBlocks: ['9.9.9.9'] }), { ...plain, remoteIp: '9.9.9.9' }).allow, true);
  t.equal(decide(from({ notRemoteIpBlocks: ['9.9.9.9'] }), plain).allow, true);
});

t.test('a header that is empty is present', async t => {
  const policies = [deny('d', [{ when: [{ key: 'request.headers[X-Debug]', values: ['*'] }] }])];
  const withHeader = (value: string | undefined) => ({
    ...plain,
    header: (name: string) => (name === 'x-debug' ? value : undefined),
  });
  t.equal(decide(policies, withHeader('')).allow, false);
  t.equal(decide(policies, withHeader(undefined)).allow, true);
  t.equal(decide(policies, plain).allow, true);
});

t.test('claims: issuer and subject, lists, nested and space-delimited ones', async t => {
  const claims = {
    iss: 'https://issuer.example/a',
    sub: 'sub-1',
    aud: ['x', 'y'],
    azp: 'app',
    scope: 'read write',
    nested: { groups: ['g1'] },
    number: 7,
  };
  const when = (key: string, ...values: string[]) => [allow('a', [{ when: [{ key, values }] }])];
  const asked = { ...plain, claims };
  for (const value of [
    'https://issuer.example/a/sub-1',
    '*',
    '*/sub-1',
    'https://issuer.example/a/*',
    '*-1',
    '*a/sub-1',
  ]) {
    t.equal(decide(when('request.auth.principal', value), asked).allow, true, value);
  }
  for (const value of [
    'https://issuer.example/a/sub',
    '*/sub-2',
    'https://issuer.example/*',
    'https://issuer.example/a',
  ]) {
    t.equal(decide(when('request.auth.principal', value), asked).allow, false, value);
  }
  t.equal(decide(when('request.auth.principal', '*'), plain).allow, false, 'no token');
  t.equal(decide(when('request.auth.audiences', 'y'), asked).allow, true);
  t.equal(decide(when('request.auth.presenter', 'ap*'), asked).allow, true);
  t.equal(decide(when('request.auth.claims[scope]', 'write'), asked).allow, true);
  t.equal(decide(when('request.auth.claims[nested][groups]', 'g1'), asked).allow, true);
  t.equal(decide(when('request.auth.claims[nested]', '*'), asked).allow, false);
  t.equal(decide(when('request.auth.claims[number]', '7'), asked).allow, false);
  t.equal(decide(when('request.auth.claims[constructor]', '*'), asked).allow, false);
});

t.test('a path without a normal form is told apart, whatever the policies say', async t => {
  for (const path of ['/a%00b', 'a', '']) {
    t.same(decide([allow('a', [{}])], { ...plain, path }), { allow: false, reason: 'bad-path' }, path);
  }
});

t.test('over TCP an ALLOW rule with an HTTP field vanishes, and a DENY rule loses it and denies more', async t => {
  const tcp: AuthorizationRequest = {
    protocol: 'tcp',
    principal: plain.principal,
    sourceIp: plain.sourceIp,
    destinationIp: plain.destinationIp,
    destinationPort: 80,
  };
  const rules = [{ to: [{ operation: { methods: ['GET'], ports: ['80'] } }] }];
  t.equal(decide([allow('a', rules)], tcp).allow, false);
  t.equal(decide([deny('d', rules)], tcp).allow, false);
  t.equal(decide([deny('d', rules)], { ...tcp, destinationPort: 81 }).allow, true);
  const either = [{ to: [{ operation: { methods: ['GET'] } }, { operation: { ports: ['80'] } }] }];
  t.equal(decide([allow('a', either)], tcp).allow, false, 'the whole rule, not only the alternative');
});

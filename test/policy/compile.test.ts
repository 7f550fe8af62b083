import t from 'tap';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import { selects } from '../../src/model/selector.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';

const web = { namespace: 'shop', serviceAccount: 'default', labels: { app: 'web', tier: 'front' } };
const request: AuthorizationRequest = {
  protocol: 'http',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  method: 'GET',
  path: '/',
};

function policy(name: string, spec: object, metadata: object = {}) {
  return policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'shop', ...metadata },
    spec,
  });
}

function compile(...policies: ReturnType<typeof policy>[]) {
  return compilePolicy({ trustDomain: 'td', rootNamespace: 'root', meshDefault: 'allow', revision: 7, policies });
}

t.test(
  'a policy holds in its namespace, in all from the root namespace, and where every label is the workload’s',
  async t => {
    const holds = (namespace: string, matchLabels?: object) =>
      selects(policy('p', matchLabels === undefined ? {} : { selector: { matchLabels } }, { namespace }), web, 'root');
    t.equal(holds('shop'), true);
    t.equal(holds('root'), true);
    t.equal(holds('bank'), false);
    t.equal(holds('shop', {}), true);
    t.equal(holds('shop', { app: 'web', tier: 'front' }), true);
    t.equal(holds('root', { app: 'web' }), true);
    t.equal(holds('shop', { app: 'web', zone: 'a' }), false);
    t.equal(holds('shop', { app: 'cart' }), false);
    t.equal(holds('shop', { toString: 'x' }), false);
  },
);

t.test('a workload is compiled once for a namespace and labels, and carries the revision', async t => {
  const compiled = compile(policy('p', { rules: [{}] }));
  const first = compiled.forWorkload(web);
  t.equal(first.revision, 7);
  t.equal(compiled.forWorkload({ ...web, labels: { tier: 'front', app: 'web' } }), first);
  t.not(compiled.forWorkload({ ...web, namespace: 'bank' }), first);
  t.not(compiled.forWorkload({ ...web, labels: {} }), first);
});

t.test('more workloads than are kept are still answered', async t => {
  const compiled = compile(policy('p', { selector: { matchLabels: { n: '0' } }, action: 'DENY', rules: [{}] }));
  const at = (n: number) => compiled.forWorkload({ ...web, labels: { n: `${n}` } });
  const first = at(0);
  for (let n = 1; n <= 1024; n++) at(n);
  t.not(at(0), first, 'the one kept longest had to go');
  t.equal(authorize(at(0), request).allow, false);
  t.equal(authorize(at(1024), request).allow, true);
});

t.test('what a verdict depends on is told, for the key of a cache', async t => {
  const none = compile(
    policy('p', { rules: [{ to: [{ operation: { paths: ['/'], methods: ['GET'], ports: ['80'] } }] }] }),
  );
  const { headersRead, readsHost, readsSourceIp, readsRemoteIp, readsDestinationIp, readsServerName, readsClaims } =
    none.forWorkload(web);
  t.same(headersRead, []);
  t.same(
    [readsHost, readsSourceIp, readsRemoteIp, readsDestinationIp, readsServerName, readsClaims],
    Array(6).fill(false),
  );
  const when = (key: string, value: string) => ({ key, notValues: [value] });
  const all = compile(
    policy('a', {
      rules: [
        { when: [when('request.headers[X-B]', '1'), when('request.headers[x-a]', '1'), when('remote.ip', '::1')] },
        { from: [{ source: { ipBlocks: ['10.0.0.0/8'] } }], to: [{ operation: { notHosts: ['x'] } }] },
      ],
    }),
    policy('b', {
      action: 'DENY',
      rules: [
        { when: [when('connection.sni', 'x'), when('destination.ip', '::1'), when('request.auth.claims[x]', 'y')] },
      ],
    }),
  ).forWorkload(web);
  t.same(all.headersRead, ['x-a', 'x-b']);
  t.same(
    [all.readsHost, all.readsSourceIp, all.readsRemoteIp, all.readsDestinationIp, all.readsServerName, all.readsClaims],
    Array(6).fill(true),
  );
});

t.test('a policy in dry run is not enforced, and what it would do can be asked', async t => {
  const dry = { annotations: { 'istio.io/dry-run': 'true' } };
  const compiled = compile(policy('p', { action: 'DENY', rules: [{}] }, dry)).forWorkload(web);
  t.equal(authorize(compiled, request).allow, true);
  t.ok(compiled.dryRun);
  if (compiled.dryRun) t.match(authorize(compiled.dryRun, request), { allow: false, policy: 'shop/p' });
  const wet = compile(policy('p', { action: 'DENY', rules: [{}] }, { annotations: { 'istio.io/dry-run': 'false' } }));
  t.equal(wet.forWorkload(web).dryRun, undefined);
  t.equal(authorize(wet.forWorkload(web), request).allow, false);
});

t.test('the path is normalised as asked for', async t => {
  const policies = [policy('p', { rules: [{ to: [{ operation: { paths: ['/a/b'] } }] }] })];
  const input = { trustDomain: 'td', rootNamespace: 'root', meshDefault: 'allow', revision: 1, policies } as const;
  const asked = { ...request, path: '/a//b?q=1' };
  t.equal(authorize(compilePolicy(input).forWorkload(web), asked).allow, false);
  const merging = compilePolicy({ ...input, pathNormalization: 'MERGE_SLASHES' });
  t.equal(authorize(merging.forWorkload(web), asked).allow, true);
});

t.test('a policy with an error is refused with all that is wrong, by document and path', async t => {
  const bad = policy('bad', {
    rules: [{ from: [{ source: { ipBlocks: ['10.0.0.0/33'] } }], when: [{ key: 'x', values: ['y'] }] }],
  });
  t.throws(() => compile(policy('good', {}), bad), {
    code: 'INVALID_INPUT',
    message:
      /^AuthorizationPolicy shop\/bad: spec\.rules\[0\]\.when\[0\]\.key: .*; AuthorizationPolicy shop\/bad: spec\.rules\[0\]\.from\[0\]\.source\.ipBlocks: /,
  });
});

t.test('ten thousand rules that differ in principal and path are found, each by its number', async t => {
  const rules = Array.from({ length: 500 }, (_, i) => ({
    from: [{ source: { principals: [`td/ns/n${i % 50}/sa/s`] } }],
    to: [{ operation: { paths: [`/p/${i}`], methods: ['GET'] } }],
  }));
  const policies = Array.from({ length: 20 }, (_, p) =>
    policy(`p${p}`, { rules: rules.map((rule, i) => ({ ...rule, to: [{ operation: { paths: [`/p/${p}/${i}`] } }] })) }),
  );
  const compiled = compile(...policies).forWorkload(web);
  for (let p = 0; p < 20; p++) {
    for (let i = 0; i < 500; i += 7) {
      const asked = { ...request, principal: `td/ns/n${i % 50}/sa/s`, path: `/p/${p}/${i}` };
      const verdict = authorize(compiled, asked);
      if (verdict.policy !== `shop/p${p}` || verdict.rule !== i) t.fail(`${asked.path}: ${JSON.stringify(verdict)}`);
      if (authorize(compiled, { ...asked, principal: 'td/ns/x/sa/s' }).allow)
        t.fail(`${asked.path}: allowed to another`);
    }
  }
});

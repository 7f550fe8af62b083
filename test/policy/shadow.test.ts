import fc from 'fast-check';
import t from 'tap';
import type { AuthorizationPolicy } from '../../src/model/document.ts';
import type { AuthorizationRequest, MeshDefault } from '../../src/model/policy.ts';
import { authorize } from '../../src/policy/authorize.ts';
import { compilePolicy } from '../../src/policy/compile.ts';
import { authorizeInShadow } from '../../src/policy/shadow.ts';
import { policyOf } from '../fixtures/istio-corpus.ts';
import { decide, mesh, requests, workload } from '../fixtures/policy-properties.ts';
import { anyPolicies } from '../fixtures/random-policies.ts';

const dryRun = { 'istio.io/dry-run': 'true' };

function inDryRun(policy: AuthorizationPolicy): AuthorizationPolicy {
  return { ...policy, metadata: { ...policy.metadata, annotations: dryRun } };
}

function shadowOf(policies: readonly AuthorizationPolicy[], request: AuthorizationRequest, meshDefault: MeshDefault) {
  const compiled = compilePolicy({ ...mesh, meshDefault, policies }).forWorkload(workload);
  const enforced = authorize(compiled, request);
  return { enforced, watched: compiled.watched, shadow: authorizeInShadow(compiled, request, enforced) };
}

t.test('policies in dry run change no verdict, and tell what enforcing them would', async () => {
  fc.assert(
    fc.property(anyPolicies, anyPolicies, requests, (enforced, dry, requests) => {
      for (const meshDefault of ['allow', 'deny'] as const) {
        for (const request of requests) {
          const { shadow, ...asked } = shadowOf([...enforced, ...dry.map(inDryRun)], request, meshDefault);
          const now = decide(enforced, request, meshDefault);
          const then = decide([...enforced, ...dry], request, meshDefault);
          if (asked.enforced.allow !== now.allow || asked.enforced.rule !== now.rule) throw new Error('changed');
          const told = shadow?.verdict?.allow ?? now.allow;
          if (told !== then.allow) throw new Error(`told ${told}, would be ${then.allow}`);
          const blamed = (shadow?.effects ?? []).filter(effect => effect === 'allow' || effect === 'deny');
          if (blamed.length > 0 !== (now.allow !== then.allow)) throw new Error('nobody is named');
          if (blamed.some(effect => (effect === 'allow') !== then.allow)) throw new Error('named for the opposite');
        }
      }
    }),
    { seed: 3, numRuns: 300 },
  );
});

const request: AuthorizationRequest = {
  protocol: 'http',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  method: 'GET',
  path: '/a//../b',
};
function policy(name: string, action: string, rules: readonly object[], annotations = {}): AuthorizationPolicy {
  return policyOf({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: 'shop', annotations },
    spec: { action, rules },
  });
}
const to = (path: string) => [{ to: [{ operation: { paths: [path] } }] }];

t.test('an AUDIT policy marks what it matches, each for itself', async t => {
  const policies = [policy('a', 'AUDIT', to('/x')), policy('b', 'AUDIT', to('/a/b')), policy('c', 'AUDIT', [{}])];
  const { enforced, shadow } = shadowOf(policies, request, 'deny');
  t.equal(enforced.reason, 'mesh-default');
  t.same(shadow, { audited: 'shop/b#0', verdict: undefined, effects: ['none', 'audit', 'audit'] });
  t.equal(shadowOf([policy('a', 'AUDIT', to('/x'))], request, 'allow').shadow, undefined);
});

t.test('what falls only to there being ALLOW policies counts for each of these', async t => {
  const policies = [
    policy('a', 'ALLOW', to('/x'), dryRun),
    policy('b', 'ALLOW', to('/y'), dryRun),
    policy('c', 'DENY', to('/z'), dryRun),
  ];
  t.match(shadowOf(policies, request, 'allow').shadow, {
    verdict: { allow: false, reason: 'no-allow-matched' },
    effects: ['deny', 'deny', 'none'],
  });
});

t.test('without such policies, and of a path without a normal form, nothing is said', async t => {
  t.equal(shadowOf([policy('a', 'ALLOW', [{}])], request, 'allow').shadow, undefined);
  const audit = policy('a', 'AUDIT', [{}]);
  t.equal(shadowOf([audit], { ...request, path: '/%00' }, 'allow').shadow, undefined);
});

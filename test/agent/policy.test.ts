import t from 'tap';
import { authorizationOf, compileInto, denyAll, policySlot } from '../../src/agent/policy.ts';
import { Cell } from '../../src/base/cell.ts';
import type { Envelope } from '../../src/model/envelope.ts';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import { authorize } from '../../src/policy/authorize.ts';
import type { CompiledPolicy } from '../../src/policy/compile.ts';

const workload = { namespace: 'default', serviceAccount: 'web', labels: { app: 'web' } };
const request: AuthorizationRequest = {
  protocol: 'http',
  principal: 'edge.local/ns/default/sa/client',
  sourceIp: '10.0.0.1',
  destinationIp: '10.0.0.2',
  destinationPort: 80,
  method: 'GET',
  host: 'web',
  path: '/',
};

const allows = (policy: CompiledPolicy) => authorize(policy.forWorkload(workload), request).allow;

const alone = { node: 'pi-1', onRollout: () => {} };

const envelope = (revision: number): Envelope => ({
  kind: 'policy',
  subject: 'all',
  revision,
  issuedAt: 0,
  expiresAt: 1,
  body: undefined,
});

const body = (documents: readonly unknown[], meshDefault = 'allow') => ({
  trustDomain: 'edge.local',
  rootNamespace: 'istio-system',
  meshDefault,
  documents,
});

const deny = (namespace = 'default', rules: readonly unknown[] = [{}]) => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name: 'deny', namespace },
  spec: { action: 'DENY', rules },
});

t.test('before the master has said anything nobody may do anything', async t => {
  t.notOk(allows(denyAll('edge.local')));
});

t.test('a document is in force with one assignment, and who holds the one before keeps it', async t => {
  const inForce = new Cell(denyAll('edge.local'));
  const { take } = policySlot([compileInto(inForce, authorizationOf)], alone);
  await take(body([]), envelope(1));
  const before = inForce.value;
  t.ok(allows(before));
  await take(body([deny()]), envelope(2));
  t.notOk(allows(inForce.value));
  t.ok(allows(before), 'a request that is under way');
  t.equal(inForce.value.revision, 2);
  await take(body([deny('istio-system')]), envelope(3));
  t.notOk(allows(inForce.value), 'the root namespace is the one that the document names');
  await take(body([deny('other')], 'deny'), envelope(4));
  t.notOk(allows(inForce.value), 'so is what holds where no policy speaks');
});

t.test('a body that is not all usable is not taken at all, and it is said which document', async t => {
  const inForce = new Cell(denyAll('edge.local'));
  const { take } = policySlot([compileInto(inForce, authorizationOf)], alone);
  await take(body([]), envelope(1));
  const unusable: readonly (readonly [unknown, RegExp])[] = [
    [{ documents: [] }, /^policy: /],
    [body([deny(), { kind: 'AuthorizationPolicy' }]), /^policy document 2: /],
    [body([{ ...deny(), spec: { action: 'MAYBE' } }]), /^policy document 1: spec\.action: /],
    [body([deny('default', [{ from: [{ source: { ipBlocks: ['here'] } }] }])]), /default\/deny: .*ipBlocks/],
    [
      body([{ apiVersion: 'mesolite/v1', kind: 'Job', metadata: { name: 'x' }, spec: { command: ['x'] } }]),
      /document 1: a Job is no policy/,
    ],
  ];
  for (const [wrong, reason] of unusable) {
    await t.rejects(async () => take(wrong, envelope(2)), { message: reason });
  }
  t.equal(inForce.value.revision, 1);
});

t.test('what one part of the proxy cannot use no part gets', async t => {
  const inForce = new Cell(denyAll('edge.local'));
  const names = new Cell<readonly string[]>([]);
  const { take } = policySlot(
    [
      compileInto(inForce, authorizationOf),
      compileInto(names, policies => {
        if (policies.revision === 2) throw new TypeError('not this one');
        return policies.of('AuthorizationPolicy').map(({ metadata }) => metadata.name);
      }),
    ],
    alone,
  );
  await take(body([deny()]), envelope(1));
  t.same(names.value, ['deny']);
  await t.rejects(async () => take(body([]), envelope(2)), /not this one/);
  t.equal(inForce.value.revision, 1);
});

import t from 'tap';
import { appliedIn, readApplied } from '../../src/agent/applied-profiles.ts';
import { authorizationOf, compileInto, denyAll, policySlot } from '../../src/agent/policy.ts';
import { makeSignedInbox } from '../../src/agent/signed-inbox.ts';
import { Cell } from '../../src/base/cell.ts';
import { openFiles } from '../../src/device/files.ts';
import { chooseProfile, unknownBoard } from '../../src/device/profiles.ts';
import type { Envelope } from '../../src/model/envelope.ts';
import type { AuthorizationRequest } from '../../src/model/policy.ts';
import type { FirmwareProfile } from '../../src/model/profile.ts';
import { authorize } from '../../src/policy/authorize.ts';
import type { CompiledPolicy } from '../../src/policy/compile.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { birthOf } from '../fixtures/board.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeSignedWords } from '../fixtures/signed-words.ts';

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

t.test('what only a newer master knows of a profile is left out, and of anything else refused', async t => {
  const log = new CapturedLog();
  const files = await openFiles(t.testdir());
  const inForce = new Cell<readonly FirmwareProfile[]>([]);
  const { take } = policySlot([compileInto(inForce, appliedIn)], alone);
  const { name: _, ...spec } = unknownBoard;
  const profile = (more: object) => ({
    apiVersion: 'mesolite/v1',
    kind: 'Profile',
    metadata: { name: 'mine', namespace: 'istio-system' },
    spec: { ...spec, ...more },
  });
  const newer = {
    fan: 'quiet',
    proxy: { ...spec.proxy, streams: 7 },
    match: [
      { dmiProduct: 'ACME', socket: 'LGA' },
      { arch: 'riscv64' },
      { dmiProduct: '(?new:ACME)' },
      { dmiProduct: 'Emca' },
    ],
    traps: [
      { trap: 'no fan', fix: 'add one', when: 'fan-missing' },
      { trap: 'late', fix: 'wait', since: '2030' },
    ],
  };
  await take(body([profile(newer), deny()]), envelope(1));
  const expected = { ...unknownBoard, name: 'mine', traps: [{ trap: 'late', fix: 'wait' }] };
  t.match(inForce.value, [{ ...expected, match: [{}, {}, {}, { dmiProduct: 'Emca' }] }]);
  const chosen = (dmiProduct: string) =>
    chooseProfile({ ...birthOf({ boot: 1, seq: 0 }).inventory, dmiProduct }, inForce.value).name;
  t.same([chosen('ACME'), chosen('Emca')], ['unknown-board', 'mine'], 'no board is taken for another');

  await files.write('profiles', Buffer.from(JSON.stringify([{ ...spec, ...newer, name: 'mine' }])));
  t.same(await readApplied(files, log), inForce.value, 'nor does what such an agent has kept stop an older one');
  await t.rejects(async () => take(body([profile({ heartbeatMs: 1 })]), envelope(2)), { message: /heartbeatMs/ });
  await t.rejects(async () => take(body([{ ...deny(), spec: { ...deny().spec, fan: 1 } }]), envelope(2)), {
    message: /^policy document 1: spec\.fan: unknown field/,
  });
});

/** A slot of a node, and what it has in force. */
const slotOf = (node: string) => {
  const inForce = new Cell(denyAll('edge.local'));
  const heard: (string | undefined)[] = [];
  const parts = { node, onRollout: (rollout: string | undefined) => void heard.push(rollout) };
  return { inForce, heard, slot: policySlot([compileInto(inForce, authorizationOf)], parts) };
};
const other = deny('default', [{ to: [{ operation: { paths: ['/other'] } }] }]);
const denyRef = { kind: 'AuthorizationPolicy', namespace: 'default', name: 'deny' };
const tried = (
  put: readonly unknown[],
  remove: readonly unknown[] = [],
  nodes: readonly string[] | null = ['pi-1'],
) => ({
  rollout: { name: 'policy-1', ...(nodes && { nodes }), put, remove },
});

t.test('what is tried is in force on the nodes that are named, and nowhere else', async t => {
  const bodies: readonly (readonly [string, object, named: boolean, others: boolean])[] = [
    ['put beside', { ...body([]), ...tried([deny()]) }, false, true],
    ['put in the place of the one of that name', { ...body([deny()]), ...tried([other]) }, true, false],
    ['removed', { ...body([deny()]), ...tried([], [denyRef]) }, true, false],
    ['of all', { ...body([]), ...tried([deny()], [], null) }, false, false],
    ['of nobody', { ...body([]), ...tried([deny()], [], []) }, true, true],
  ];
  for (const [what, sent, named, others] of bodies) {
    for (const [node, expected] of [
      ['pi-1', named],
      ['pi-2', others],
    ] as const) {
      const { inForce, slot } = slotOf(node);
      await slot.take(sent, envelope(1));
      t.equal(allows(inForce.value), expected, `${what} on ${node}`);
    }
  }
});

t.test('it is said which rollout is in force, and that none is any more', async t => {
  const { heard, slot } = slotOf('pi-1');
  await slot.take({ ...body([]), ...tried([deny()]) }, envelope(1));
  t.same(slot.remark?.(), { rollout: 'policy-1' });
  await slot.take({ ...body([]), ...tried([deny()], [], ['pi-2']) }, envelope(2));
  t.same(slot.remark?.(), { rollout: undefined });
  t.same(heard, ['policy-1', undefined]);
});

t.test('a tried document that cannot be used leaves in force what was, and does not concern other nodes', async t => {
  const bad = deny('default', [{ from: [{ source: { ipBlocks: ['here'] } }] }]);
  for (const put of [bad, { kind: 'AuthorizationPolicy' }, { ...deny(), spec: { action: 'MAYBE' } }]) {
    const named = slotOf('pi-1');
    await named.slot.take({ ...body([]), ...tried([other]) }, envelope(1));
    await t.rejects(async () => named.slot.take({ ...body([]), ...tried([put]) }, envelope(2)), {
      message: /rollout policy-1|ipBlocks/,
    });
    t.equal(named.inForce.value.revision, 1);
    t.same([named.slot.remark?.(), named.heard], [{ rollout: 'policy-1' }, ['policy-1']]);
    const another = slotOf('pi-2');
    await another.slot.take({ ...body([]), ...tried([put]) }, envelope(2));
    t.ok(allows(another.inForce.value));
  }
});

t.test(
  'a node that starts without a network has what it had: what is tried there, and never what it refused',
  async t => {
    const clock = new FakeClock();
    const { seal, verify } = makeSignedWords(clock);
    const files = await openFiles(t.testdir());
    const start = async () => {
      const words = new AgentWords({ clock });
      const { slot, ...node } = slotOf('pi-1');
      const { sender, refusals } = words;
      const inbox = makeSignedInbox({ verify, files, clock, sender, refusals, log: new CapturedLog() }, slot);
      await inbox.load();
      return { ...node, inbox, acks: () => words.take('ack').map(({ rollout, reason }) => [rollout, reason]) };
    };
    const first = await start();
    const wire = seal('policy', 'all', 5, { ...body([]), ...tried([deny()]) });
    await first.inbox.receive(wire);
    t.same(first.acks(), [['policy-1', undefined]]);
    const bad = { ...body([]), ...tried([{ kind: 'AuthorizationPolicy' }]) };
    await first.inbox.receive(seal('policy', 'all', 6, bad));
    t.match(first.acks(), [[undefined, /document 1 of rollout policy-1/]]);

    const second = await start();
    t.notOk(allows(second.inForce.value));
    t.equal(second.inForce.value.revision, 5);
    t.same(second.heard, ['policy-1'], 'its calls are counted as those of the trial');
    await second.inbox.receive(wire);
    t.same(second.acks(), [['policy-1', undefined]], 'the master is told when it is there again');
  },
);

/** Walk 4: a policy that an operator applies is enforced on the node, acknowledged, and held: against forgeries, without a master, over restarts. */
import { join } from 'node:path';
import t from 'tap';
import { type Envelope, sealEnvelope } from '../../src/model/envelope.ts';
import type { PolicySettings } from '../../src/model/message.ts';
import { topics } from '../../src/model/topics.ts';
import { startEchoAndCaller } from '../fixtures/echo-and-caller.ts';
import {
  endTasks,
  joinAgent,
  makeHome,
  masterConfig,
  runAgent,
  runMaster,
  trustDomain,
  untilReady,
} from '../fixtures/fleet.ts';
import { policyFor } from '../fixtures/fleet-api.ts';
import { callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { openMasterVoice } from '../fixtures/fleet-voice.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const home = makeHome(t);
const ports = new FreePorts();
const masterSettings = await masterConfig(join(home, 'master'), ports);
// they live on from one test to the next
const startMaster = () => runMaster(t, masterSettings);
const startAgent = () => runAgent(t, agent.config);
let master = await startMaster();
let agent = await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;

const { caller, proxy } = await startEchoAndCaller(api);

const open = 'http://echo.default.mesh/open';
const closed = 'http://echo.default.mesh/closed/1';
const statusOf = async (url: string) => (await callThrough(proxy, url)).status;
const untilStatus = (url: string, status: number) =>
  until(`${url} gets ${status}`, async () => (await statusOf(url)) === status);
const deny = policyFor('echo', 'no-entry', {
  action: 'DENY',
  rules: [{ to: [{ operation: { paths: ['/closed/*'] } }] }],
});

/** The policy holds: what it denies is denied, and nothing else. */
async function holds(): Promise<boolean> {
  return (await statusOf(closed)) === 403 && (await statusOf(open)) === 200;
}

await untilStatus(closed, 200);

t.test('a policy is enforced on the node, and the operator sees that it is', async t => {
  await api.apply(deny);
  const policy = await until('the node has acknowledged it', async () => {
    const [policy] = await api.policies();
    return policy?.enforcedOn === 1 && policy;
  });
  t.match(policy, { kind: 'AuthorizationPolicy', namespace: 'default', name: 'no-entry', action: 'DENY', nodes: 1 });
  t.strictSame(policy.refusals, []);
  t.ok(await holds(), 'what was acknowledged is in force');
});

t.test('a policy that cannot be meant is refused by the master, and the one in force stays', async t => {
  const rules = [{ from: [{ source: { ipBlocks: ['10.0.0.0/99'] } }] }];
  const refused = { code: 'INVALID_INPUT', message: /ipBlocks/ };
  await t.rejects(api.apply(policyFor('echo', 'nonsense', { rules })), refused);
  t.strictSame(
    (await api.policies()).map(({ name, enforcedOn }) => ({ name, enforcedOn })),
    [{ name: 'no-entry', enforcedOn: 1 }],
  );
});

t.test('what is not the newest word of the master is refused and reported, and the last good one holds', async t => {
  const { link, authority } = await openMasterVoice(t, masterSettings);
  const stranger = makeTestAuthority(Date.now(), { trustDomain }).authority.signer;
  const settings: PolicySettings = { trustDomain, rootNamespace: 'istio-system', meshDefault: 'allow' };
  const nothing = { ...settings, documents: [] };
  const now = Date.now();
  const late = (n: number) => now + 60_000 + n;
  const envelope = (changes: Partial<Envelope> = {}): Envelope => ({
    kind: 'policy',
    subject: 'all',
    revision: late(0),
    issuedAt: now,
    expiresAt: now + 3_600_000,
    body: nothing,
    ...changes,
  });
  const seal = (changes: Partial<Envelope>) => sealEnvelope(envelope(changes), authority.signer);
  const tampered = seal({});
  tampered.writeUInt8(tampered.readUInt8(tampered.length - 3) ^ 1, tampered.length - 3);
  const refused = (key: string, value: unknown) =>
    until(`the node has refused what has the ${key} ${value}`, () =>
      agent.log.entries.some(({ fields }) =>
        value instanceof RegExp ? value.test(String(fields[key])) : fields[key] === value,
      ),
    );

  const told: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['signed by another key', sealEnvelope(envelope(), stranger), /signature of key .* does not verify/],
    ['older than what is in force', seal({ revision: 7 }), /revision 7 is older/],
    ['expired', seal({ revision: late(1), issuedAt: now - 10_000, expiresAt: now - 5_000 }), /expired/],
    ['of another shape', seal({ revision: late(2), body: { ...nothing, meshDefault: 'perhaps' } }), /meshDefault/],
    [
      'with no policy in it',
      seal({ revision: late(3), body: { ...nothing, documents: [{ kind: 'Job' }] } }),
      /document 1/,
    ],
  ];
  for (const [what, wire, reason] of told) {
    await link.publish(topics.policy, wire, { qos: 1 });
    await refused('reason', reason);
    t.ok(await holds(), `one ${what} changes nothing`);
  }
  await until('the operator sees the newest refusal', async () =>
    (await api.policies())[0]?.refusals.some(({ node, reason }) => node === 'node' && /document 1/.test(reason)),
  );

  // of what cannot be read as the master's, a node tells once a minute: one that it does tell of comes after each
  const untold: readonly (readonly [string, Uint8Array])[] = [
    ['not signed', Buffer.from(JSON.stringify(envelope()))],
    ['changed on its way', tampered],
    ['for somebody else', seal({ subject: 'node' })],
    ['of another kind', seal({ kind: 'manifest' })],
  ];
  for (const [i, [what, wire]] of untold.entries()) {
    await link.publish(topics.policy, wire, { qos: 1 });
    await link.publish(topics.policy, seal({ revision: late(10 + i), body: {} }), { qos: 1 });
    await refused('revision', late(10 + i));
    t.ok(await holds(), `one ${what} changes nothing`);
  }
  await api.apply(
    policyFor('echo', 'another', { action: 'DENY', rules: [{ to: [{ operation: { methods: ['PUT'] } }] }] }),
  );
  await until('a good one is in force', async () =>
    (await api.policies()).every(policy => policy.enforcedOn === 1 && policy.refusals.length === 0),
  );
  t.ok(await holds());
});

t.test('without a master it holds, and over a restart of the agent', async t => {
  const pidOf = async () => (await api.task(caller)).history.findLast(status => status.pid)?.pid;
  const pid = await pidOf();
  await master.stop();
  t.ok(await holds(), 'the master is gone');
  await agent.stop();
  agent = await startAgent();
  await untilStatus(open, 200);
  t.ok(await holds(), 'from the disk, by the same tasks');
  t.notOk(agent.log.entries.some(entry => entry.sentence === 'the link is up'));
  t.type(pid, 'number');
});

t.test('after a power cut without a network it holds, and the tasks run', async t => {
  await agent.stop();
  await endTasks(agent.config.dataDir);
  agent = await startAgent();
  await untilStatus(open, 200);
  t.ok(await holds());
});

t.test('a master that comes back takes a policy away again', async t => {
  master = await startMaster();
  await untilReady(master.api, 'node');
  await until('the node has said what it enforces', async () =>
    (await master.api.policies()).every(policy => policy.enforcedOn === 1),
  );
  t.ok(await holds());
  await master.api.remove('AuthorizationPolicy', 'no-entry');
  await untilStatus(closed, 200);
});

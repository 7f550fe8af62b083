/** A canary that denies what callers ask for takes itself back: with the master there, and with the master killed in the middle. */
import { join } from 'node:path';
import t from 'tap';
import { applyResultSchema } from '../../src/model/api.ts';
import { startAnsweringMaster } from '../fixtures/answering-master.ts';
import { agentConfig, makeHome, masterConfig, proxyOf, runAgent, untilReady, untilTasks } from '../fixtures/fleet.ts';
import { job, policyFor } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);
const nodes = ['north', 'south'] as const;

const startMaster = () => startAnsweringMaster(t, settings);

let { process: master, api } = await startMaster();
for (const node of nodes) {
  const joinString = await api.joinString();
  const config = await agentConfig(
    t,
    { dataDir: join(home, node), node, join: joinString, heartbeatMs: 1_000, labels: { place: node } },
    ports,
  );
  await runAgent(t, config);
  await untilReady(api, node);
}
for (const node of nodes) {
  const constraints = [{ attribute: 'place', operator: 'in', values: [node] }];
  const service = { command: echoProgram, ports: [{ name: 'http' }], service: { port: 'http' }, constraints };
  await api.apply(job(`echo-${node}`, service));
}
await api.apply(
  job('caller', { serviceAccount: 'caller', upstreams: nodes.map(node => `echo-${node}`), command: callerProgram }),
);
for (const node of nodes) await untilTasks(api, `echo-${node}`, 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');

const statusOf = async (node: string) => (await callThrough(proxy, `http://echo-${node}.default.mesh/`)).status;
const untilStatus = (node: string, status: number) =>
  until(`echo-${node} answers ${status}`, async () => (await statusOf(node)) === status);
/** Denies what both serve. */
const harm = nodes.map(node => policyFor(`echo-${node}`, `harm-${node}`, { action: 'DENY', rules: [{}] }));
const rollout = (name: string) =>
  until(`there is ${name}`, async () => (await api.rollouts()).find(each => each.name === name));
/** The end of a rollout that the south must not notice. */
async function untilRolledBack(name: string) {
  return until(`${name} has rolled back`, async () => {
    await statusOf('north');
    if ((await statusOf('south')) !== 200) throw new Error('what is tried in the north was in force in the south');
    const now = await rollout(name);
    return now.endedAt !== null && now;
  });
}
const pushed = async (documents: readonly object[], spec: object) => {
  const { rollout = '' } = await api.client.post('/v1/documents', { documents, rollout: spec }, applyResultSchema);
  return rollout;
};
for (const node of nodes) await untilStatus(node, 200);
for (let i = 0; i < 30; i++) for (const node of nodes) await statusOf(node);

t.test('a canary that denies real calls rolls itself back, and nobody else was touched', async t => {
  const name = await pushed(harm, { steps: [{ labels: { place: 'north' }, for: '10m' }] });
  await untilStatus('north', 403);
  t.equal(await statusOf('south'), 200, 'only the ring has it');
  const during = await until('the operator sees where it is in force', async () => {
    const policy = (await api.policies()).find(policy => policy.name === 'harm-north');
    return policy?.rollout?.nodes.length === 1 && policy;
  });
  t.match(during, { enforcedOn: 0, nodes: 2, rollout: { name, change: 'put', nodes: ['north'] } });
  const over = await untilRolledBack(name);
  t.equal(over.phase, 'rolled-back');
  t.match(over.reason, /^step 1 of 2 .*denied rose from 0% .* to 100%/);
  await untilStatus('north', 200);
  t.strictSame(await api.policies(), [], 'what was pushed holds nowhere');
  t.strictSame(
    (await api.documents()).filter(each => (each as { kind: string }).kind !== 'Job'),
    [],
  );
  t.match((await api.told('rollout-rolled-back')).at(-1), {
    severity: 'critical',
    message: new RegExp(`^${name}: `),
  });
});

t.test('a master that is killed in the middle goes on, and rolls it back', async t => {
  const name = await pushed(harm, { steps: [{ nodes: ['north'], for: '10m' }], minRequests: 60 });
  await untilStatus('north', 403);
  for (let i = 0; i < 10; i++) await statusOf('north');
  await master.kill();
  t.equal(await statusOf('north'), 403, 'the canary holds without a master');
  t.equal(await statusOf('south'), 200);
  for (let i = 0; i < 55; i++) await statusOf('north');
  ({ process: master, api } = await startMaster());
  const over = await untilRolledBack(name);
  t.equal(over.phase, 'rolled-back');
  t.match(
    over.reason,
    /denied rose from 0% \(0 of [1-9]\d+\) to 100%/,
    'with what was before, which the node has kept',
  );
  await untilStatus('north', 200);
});

t.test('a good push goes to the canary and then to all, over a kill of the master', async t => {
  const good = nodes.map(node =>
    policyFor(`echo-${node}`, `good-${node}`, {
      action: 'DENY',
      rules: [{ to: [{ operation: { paths: ['/closed'] } }] }],
    }),
  );
  const closed = async (node: string) => (await callThrough(proxy, `http://echo-${node}.default.mesh/closed`)).status;
  const name = await pushed(good, { steps: [{ nodes: ['north'], for: '3s' }] });
  await until('the north has it', async () => (await closed('north')) === 403);
  t.equal(await closed('south'), 200);
  await master.kill();
  ({ process: master, api } = await startMaster());
  const over = await until('it is over', async () => {
    const now = await rollout(name);
    return now.endedAt !== null && now;
  });
  t.match(over, { phase: 'succeeded', step: 2 });
  for (const node of nodes) await until(`${node} has it`, async () => (await closed(node)) === 403);
  const policies = await until('all say so', async () => {
    const policies = await api.policies();
    return policies.every(policy => policy.enforcedOn === 2) && policies;
  });
  t.strictSame(policies.map(policy => policy.name).sort(), ['good-north', 'good-south']);
  t.ok(policies.every(policy => policy.rollout === undefined));
});

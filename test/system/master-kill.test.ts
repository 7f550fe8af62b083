/** The master is killed again and again, in the middle of things: what it has said yes to is there after each start. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { isTerminal } from '../../src/model/task.ts';
import { startAnsweringMaster } from '../fixtures/answering-master.ts';
import { agentConfig, makeHome, masterConfig, runAgent, type TestAgent, untilReady } from '../fixtures/fleet.ts';
import { type FleetApi, job, policyFor } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import type { RoleProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';

const kills = 3;
const seed = 20_611;
const random = seededRandom(seed);
const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);
const runs = join(home, 'runs');

/** What the master has answered: documents that it has taken or taken away, and ends of tasks that it has told of. */
const taken = new Set<string>();
const removed = new Set<string>();
const ended = new Map<string, string>();

const startMaster = () => startAnsweringMaster(t, settings);

const nameOf = (document: unknown) => (document as { metadata: { name: string } }).metadata.name;
const shell = (script: string) => ['/bin/sh', '-c', script];

/** One thing that an operator does; it counts when the master has answered. */
async function work(api: FleetApi, n: number): Promise<void> {
  const command = shell(`echo "$MESOLITE_TASK" >> ${runs}`);
  const resources = { cpus: 0.01, mem: 1 };
  await api.apply(
    job(`batch-${n}`, { type: 'batch', instances: 2, command, resources }),
    policyFor(`batch-${n}`, `policy-${n}`, { action: 'DENY', rules: [{}] }),
  );
  taken.add(`batch-${n}`).add(`policy-${n}`);
  await api.apply(job(`service-${n}`, { command: shell('exec sleep 1000'), resources }));
  taken.add(`service-${n}`);
  // once it is asked to, the answer may be lost
  taken.delete(`service-${n}`);
  await api.remove('Job', `service-${n}`);
  removed.add(`service-${n}`);
  for (const task of await api.tasks()) if (isTerminal(task.state)) ended.set(task.id, task.state);
}

/** Works until the master is killed, at a moment that the dice choose. */
async function workUntilKilled(api: FleetApi, master: RoleProcess, first: number): Promise<number> {
  const pieces = 2 + Math.floor(random() * 4);
  for (let n = first; n < first + pieces; n++) await work(api, n);
  const last = work(api, first + pieces).catch(() => {});
  const turns = Math.floor(random() * 200);
  for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
  await master.kill();
  await last;
  return first + pieces + 1;
}

let { process: master, api } = await startMaster();
const config = await agentConfig(
  t,
  { dataDir: join(home, 'node'), node: 'node', join: await api.joinString(), heartbeatMs: 1_000 },
  ports,
);
// it lives on from one test to the next
const startAgent = () => runAgent(t, config);
let agent: TestAgent = await startAgent();
await untilReady(api, 'node');

t.test(`everything that was acknowledged is there after each of ${kills} kills (seed ${seed})`, async t => {
  let n = 0;
  for (let kill = 0; kill < kills; kill++) {
    n = await workUntilKilled(api, master, n);
    await agent.stop();
    ({ process: master, api } = await startMaster());
    const documents = new Set((await api.documents()).map(nameOf));
    t.strictSame(
      [...taken].filter(name => !documents.has(name)),
      [],
      'what was taken is there',
    );
    t.strictSame(
      [...removed].filter(name => documents.has(name)),
      [],
      'what was removed is not',
    );
    const states = new Map((await api.tasks()).map(task => [task.id, task.state]));
    for (const [id, state] of ended) {
      const now = states.get(id);
      if (now !== undefined && now !== state) t.fail(`${id} was ${state} and is ${now}`);
    }
    agent = await startAgent();
  }
  t.ok(taken.size > 2 * kills && removed.size > kills && ended.size > 0, `${taken.size} documents, ${ended.size} ends`);
});

t.test('then every task comes to its end, and has run once', async t => {
  const tasks = await until('all have ended', async () => {
    const tasks = await api.tasks();
    // a service whose removal was not answered may be there or not
    const ending = tasks.filter(task => task.type === 'batch' || removed.has(task.job));
    return ending.every(task => isTerminal(task.state)) && tasks;
  });
  const batch = tasks.filter(task => task.type === 'batch');
  t.strictSame(
    batch.filter(task => task.state !== 'TASK_FINISHED').map(({ id, state, message }) => ({ id, state, message })),
    [],
  );
  const ran = existsSync(runs) ? readFileSync(runs, 'utf8').trim().split('\n').sort() : [];
  t.strictSame(ran, batch.map(task => task.id).sort());
  for (const { id } of batch) {
    const { history } = await api.task(id);
    t.equal(history.filter(status => isTerminal(status.state)).length, 1, id);
  }
});

t.test('and every policy is in force', async t => {
  const policies = await until('the node has acknowledged them', async () => {
    const policies = await api.policies();
    return policies.every(policy => policy.enforcedOn === 1) && policies;
  });
  const names = new Set(policies.map(policy => policy.name));
  t.strictSame(
    [...taken].filter(name => name.startsWith('policy') && !names.has(name)),
    [],
  );
});

/** The master is killed at random points while batches run on two agents: each task ends once, and has run once by its own account. */
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { isTerminal } from '../../src/model/task.ts';
import { startAnsweringMaster } from '../fixtures/answering-master.ts';
import { agentConfig, makeHome, masterConfig, untilReady } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startAgentProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';

// `npm run check:batch` asks for more
const rounds = Number(process.env.MESOLITE_BATCH_ROUNDS ?? 1);
const size = Number(process.env.MESOLITE_BATCH_TASKS ?? 40);
const seed = Number(process.env.MESOLITE_BATCH_SEED ?? 4_711);
const killsARound = 2;
const random = seededRandom(seed);
const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);

let { process: master, api } = await startAnsweringMaster(t, settings);
for (const node of ['one', 'two']) {
  const joining = { dataDir: join(home, node), node, join: await api.joinString() };
  startAgentProcess(t, await agentConfig(t, joining, ports));
}
for (const node of ['one', 'two']) await untilReady(api, node);

/** Each task writes a line for each of its runs into a file of its own: `<process id> <node>`. */
const runs = join(home, 'runs');
const batchOf = (name: string) =>
  job(name, {
    type: 'batch',
    instances: size,
    resources: { cpus: 0.1, mem: 1 },
    command: ['/bin/sh', '-c', `echo "$$ $MESOLITE_NODE" >> ${runs}/$MESOLITE_TASK`],
  });
const tasksThatRan = () => readdirSync(runs);

/** However long it takes, as long as one task after the other does. */
async function untilRan(tasks: number): Promise<void> {
  for (let seen = 0; seen < tasks; ) {
    const before = seen;
    seen = await until(`more than ${before} tasks have run`, () => {
      const now = tasksThatRan().length;
      return now > before && now;
    });
  }
}

/** Ends when a moment that the dice choose has come, whatever goes on meanwhile. */
async function sometime(): Promise<void> {
  const turns = Math.floor(random() * 400);
  for (let i = 0; i < turns; i++) await new Promise(resolve => setImmediate(resolve));
}

/** Kills the master once so many tasks have run, or sooner; what it was asked meanwhile may have no answer. */
async function killAt(tasks: number, name: string): Promise<void> {
  const asked = api.apply(batchOf(name)).catch(() => {});
  await untilRan(tasks);
  await sometime();
  await master.kill();
  await asked;
  ({ process: master, api } = await startAnsweringMaster(t, settings));
}

t.comment(`seed ${seed}, ${rounds} rounds of ${size} tasks and ${killsARound} kills`);
for (let round = 1; round <= rounds; round++) {
  const name = `batch-${round}`;
  await t.test(name, async t => {
    rmSync(runs, { recursive: true, force: true });
    mkdirSync(runs);
    const points = Array.from({ length: killsARound }, () => Math.floor(random() * size)).sort((a, b) => a - b);
    // the first comes while the batch is being entered, as often as not
    if (random() < 0.5) points[0] = 0;
    t.comment(`killed when ${points.join(' and ')} tasks had run`);
    for (const point of points) await killAt(point, name);
    await api.apply(batchOf(name));
    await untilRan(size);
    const tasks = await until('all have ended', async () => {
      const tasks = await api.tasks(name);
      return tasks.every(task => isTerminal(task.state)) && tasks;
    });

    const labels = tasks.map(task => Number(task.label)).sort((a, b) => a - b);
    t.strictSame(labels, [...Array(size).keys()], 'none is lost, and none is there twice');
    const failed = tasks.filter(task => task.state !== 'TASK_FINISHED');
    t.strictSame(failed, [], 'all have finished');
    t.strictSame(tasksThatRan().sort(), tasks.map(task => task.id).sort(), 'those that ran are those in the ledger');
    const odd: unknown[] = [];
    for (const { id, node } of tasks) {
      const said = readFileSync(join(runs, id), 'utf8').trim().split('\n');
      const { history } = await api.task(id);
      const ends = history.filter(status => isTerminal(status.state)).length;
      if (said.length !== 1 || said[0]?.split(' ')[1] !== node || ends !== 1) odd.push({ id, node, said, history });
    }
    t.strictSame(odd, [], 'each has run once, where the ledger says, and ended once');
    for (const { node, free, total } of await api.nodes())
      t.strictSame(free, total, `${node} has all of it free again`);
    await api.remove('Job', name);
  });
}

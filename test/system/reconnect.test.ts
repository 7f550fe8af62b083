/** A link that comes and goes, and another master at its end, change nothing on a node: who wants its tasks as they are starts none anew. */
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/device/clock.ts';
import {
  agentConfig,
  lives,
  makeHome,
  masterConfig,
  runAgent,
  runMaster,
  type TestMaster,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import { until } from '../fixtures/fleet-until.ts';

// `npm run check:reattach` asks for more
const rounds = Number(process.env.MESOLITE_REATTACH_ROUNDS ?? 20);
/** Real time in which nobody waits for long: the back-off of a link would make a hundred rounds an hour. */
const hasty = {
  ...systemClock,
  sleep: (ms: number, signal: AbortSignal) => systemClock.sleep(Math.min(ms, 50), signal),
};

const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);
const master = await runMaster(t, settings);
const relay = await Relay.open(t, settings.mqttPort);
const joinString = relay.joinString(await master.api.joinString());
const agent = await runAgent(
  t,
  await agentConfig(t, { dataDir: join(home, 'node'), node: 'node', join: joinString }, ports),
  hasty,
);
await untilReady(master.api, 'node');

const starts = join(home, 'starts');
const lines = () => readFileSync(starts, 'utf8').trim().split('\n');
const command = ['/bin/sh', '-c', `echo $$ >>${starts}; exec sleep 1000`];
await master.api.apply(job('one', { command }), job('two', { instances: 2, command }));
for (const name of ['one', 'two']) await untilTasks(master.api, name, 'TASK_RUNNING');
const pids = await until('all have begun', () => existsSync(starts) && lines().length === 3 && lines().map(Number));

async function isUntouched(): Promise<boolean> {
  const tasks = await master.api.tasks();
  const running = tasks.filter(task => task.state === 'TASK_RUNNING' && task.restarts === 0);
  return pids.every(lives) && lines().length === 3 && running.length === 3 && tasks.length === 3;
}

const births = ({ log }: TestMaster) => log.all('a node introduced itself').length;
const assignments = () => master.log.all('a node gets its whole assignment').length;

t.test(`${rounds} reconnects with an unchanged desired state restart nothing, and send no assignment`, async t => {
  const sent = assignments();
  for (let round = 0; round < rounds; round++) {
    const before = births(master);
    relay.cut();
    await until('the node has introduced itself again', () => births(master) > before);
  }
  t.equal(assignments(), sent);
  t.ok(await isUntouched());
});

t.test('a broker of strangers is not spoken to, and nothing ends', async t => {
  const other = await runMaster(t, await masterConfig(join(home, 'stranger'), ports));
  const before = births(master);
  const refused = agent.log.all('the link is still down').length;
  relay.target = other.config.mqttPort;
  relay.cut();
  await until('the node has tried', () => agent.log.all('the link is still down').length > refused + 2);
  t.strictSame(await other.api.nodes(), []);
  t.ok(pids.every(lives));
  relay.target = settings.mqttPort;
  await until('the node has introduced itself again', () => births(master) > before);
  t.ok(await isUntouched());
  await other.stop();
});

t.test('another master of the same authority, which knows nothing, ends nothing and says so', async t => {
  const config = await masterConfig(join(home, 'other'), ports);
  mkdirSync(config.dataDir, { mode: 0o700 });
  for (const file of readdirSync(settings.dataDir)) {
    if (file.startsWith('authority')) copyFileSync(join(settings.dataDir, file), join(config.dataDir, file));
  }
  const other = await runMaster(t, config);
  const before = births(master);
  relay.target = config.mqttPort;
  relay.cut();
  await until('an operator is told', async () => (await other.api.events('node-unknown')).length > 0);
  t.ok(pids.every(lives));
  t.equal(lines().length, 3);
  relay.target = settings.mqttPort;
  await other.stop();
  await until('the node has introduced itself again', () => births(master) > before);
  t.ok(await isUntouched());
});

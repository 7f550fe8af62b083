/** Tasks outlive the agent and the link: whatever becomes of those, nothing is started anew that runs as it should. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { systemClock } from '../../src/device/clock.ts';
import { type Envelope, sealEnvelope } from '../../src/model/envelope.ts';
import { topics } from '../../src/model/topics.ts';
import { callOn } from '../fixtures/call-on.ts';
import {
  agentConfig,
  lives,
  makeHome,
  masterConfig,
  runMaster,
  type TestMaster,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { type RoleProcess, startAgentProcess } from '../fixtures/fleet-process.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import { until } from '../fixtures/fleet-until.ts';
import { openMasterVoice } from '../fixtures/fleet-voice.ts';

const home = makeHome(t);
const ports = new FreePorts();
const settings = await masterConfig(join(home, 'master'), ports);
const startMaster = () => runMaster(t, settings);
let master: TestMaster = await startMaster();
const relay = await Relay.open(t, settings.mqttPort);
const joinString = relay.joinString(await master.api.joinString());
const config = await agentConfig(t, { dataDir: join(home, 'node'), node: 'node', join: joinString }, ports);
const startAgent = () => startAgentProcess(t, config);
let agent: RoleProcess = startAgent();
await until('the agent is there', async () => {
  if (agent.output.includes('mesolite: ')) throw new Error(agent.output);
  return (await master.api.nodes()).length > 0;
});

// `npm run check:reattach` asks for more
const rounds = Number(process.env.MESOLITE_REATTACH_ROUNDS ?? 3);
const random = seededRandom(Number(process.env.MESOLITE_REATTACH_SEED ?? 2_207));
const starts = join(home, 'starts');
const lines = () => readFileSync(starts, 'utf8').trim().split('\n');
const program = (name: string) => ['/bin/sh', '-c', `echo "${name} $$" >> ${starts}; exec sleep 1000000`];
await master.api.apply(job('one', { command: program('one') }), job('two', { instances: 2, command: program('two') }));
for (const name of ['one', 'two']) await untilTasks(master.api, name, 'TASK_RUNNING');
const pids = await until('all have begun', () => existsSync(starts) && lines().length === 3 && lines().map(pidOf));

function pidOf(line: string): number {
  return Number(line.split(' ')[1]);
}

/** The three processes of the beginning live, there are no others, and the master knows of no restart. */
async function isUntouched(): Promise<boolean> {
  const tasks = await master.api.tasks();
  const running = tasks.filter(task => task.state === 'TASK_RUNNING' && task.restarts === 0);
  return pids.every(lives) && lines().length === 3 && running.length === 3 && tasks.length === 3;
}

const bootOf = async () => (await master.api.nodes())[0]?.boot ?? 0;
const births = () => master.log.all('a node introduced itself').length;
/** Does something and waits until the node has introduced itself after it. */
async function reborn(disturb: () => Promise<void> | void): Promise<void> {
  const before = births();
  await disturb();
  await until('the node has introduced itself again', () => births() > before);
}

t.test('an agent that is killed and started again finds its tasks as they are', async t => {
  const boot = await bootOf();
  await agent.kill();
  t.ok(pids.every(lives), 'they do not need it');
  agent = startAgent();
  await until('it is back', async () => (await bootOf()) > boot);
  t.ok(await isUntouched());
});

t.test('a reconnect with an unchanged desired state restarts nothing, and sends no assignment', async t => {
  const sent = () => master.log.all('a node gets its whole assignment').length;
  const before = sent();
  await reborn(() => relay.cut());
  await reborn(() => relay.cut());
  t.equal(sent(), before);
  t.ok(await isUntouched());
});

t.test('another master over the same data restarts nothing', async t => {
  await master.stop();
  master = await startMaster();
  await until('the node has introduced itself', () => births() > 0);
  await untilReady(master.api, 'node');
  t.ok(await isUntouched());
  t.strictSame(
    master.log.entries.filter(entry => entry.level === 'error'),
    [],
  );
});

t.test('a task that ended while no agent watched is found ended; one that was killed with it starts again', async t => {
  const go = join(home, 'go');
  const script = `while [ ! -e ${go} ]; do sleep 0.05; done; exit 5`;
  await master.api.apply(job('brief', { type: 'batch', command: ['/bin/sh', '-c', script] }));
  await untilTasks(master.api, 'brief', 'TASK_RUNNING');
  const [brief] = await master.api.tasks('brief');
  await agent.kill();
  writeFileSync(go, '');
  const [first = 0] = pids;
  process.kill(first, 'SIGKILL');
  await until('both have ended', async () => !lives(first));
  agent = startAgent();
  const [ended] = await untilTasks(master.api, 'brief', 'TASK_FAILED');
  t.match(ended, { id: brief?.id, exitCode: 5, restarts: 0 });
  await until('the killed one has started again', () => lines().length === 4);
  for (const name of ['one', 'two']) await untilTasks(master.api, name, 'TASK_RUNNING');
  await master.api.remove('Job', 'brief');
});

/** Answers with its process id, as a program does that knows of no mesh. */
const answering = `require('node:http').createServer((_, answer) => answer.end(String(process.pid)))
  .listen(process.env.PORT, '127.0.0.1')`;

t.test(
  `an agent that is killed ${rounds} times costs the callers of its task nothing, and learns what has ended`,
  async t => {
    await master.api.apply(
      job('server', {
        ports: [{ name: 'http' }],
        health: { type: 'http', port: 'http' },
        command: [process.execPath, '-e', answering],
      }),
    );
    const [server] = await untilTasks(master.api, 'server', 'TASK_RUNNING');
    const callers = callOn(server?.ports[0]?.number ?? 0);
    for (let round = 1; round <= rounds; round++) {
      const [name, go, code] = [`brief-${round}`, join(home, `go-${round}`), 1 + (round % 200)];
      const script = `echo $$ >${go}.pid; while [ ! -e ${go} ]; do sleep 0.05; done; exit ${code}`;
      await master.api.apply(job(name, { type: 'batch', command: ['/bin/sh', '-c', script] }));
      await untilTasks(master.api, name, 'TASK_RUNNING');
      await agent.kill();
      writeFileSync(go, '');
      const pid = Number(await until('it has begun', () => existsSync(`${go}.pid`) && readFileSync(`${go}.pid`)));
      await until('it has ended', () => !lives(pid));
      agent = startAgent();
      if (random() < 0.3) {
        // one that dies while it looks round
        await systemClock.sleep(random() * 800, new AbortController().signal);
        await agent.kill();
        agent = startAgent();
      }
      const [ended] = await untilTasks(master.api, name, 'TASK_FAILED');
      if (ended?.exitCode !== code || ended.restarts !== 0) t.match(ended, { exitCode: code, restarts: 0 });
      await master.api.remove('Job', name);
    }
    const { answers, failures } = await callers.stop();
    t.strictSame(failures, []);
    t.equal(answers.size, 1, 'one process has answered all');
    const [[, count] = []] = answers;
    t.ok(count !== undefined && count > rounds, `${count} requests`);
    t.match(await untilTasks(master.api, 'server', 'TASK_RUNNING'), [{ id: server?.id, restarts: 0 }]);
    await master.api.remove('Job', 'server');
  },
);

t.test('a spec that changes under the same id is not carried out, and the master is told why', async t => {
  const { link, authority } = await openMasterVoice(t, settings);
  const stored = readFileSync(join(config.dataDir, 'desired-tasks'), 'utf8');
  // after the line with its checksum
  const { epoch, generation, tasks } = JSON.parse(stored.slice(stored.indexOf('\n')));
  const changed = tasks.map((task: object) => ({ ...task, env: { CHANGED: 'yes' } }));
  const body = { epoch, generation, full: true, base: 0, put: changed, remove: [] };
  const now = Date.now();
  const envelope: Envelope = {
    kind: 'assignment',
    subject: 'node',
    revision: now + 60_000,
    issuedAt: now,
    expiresAt: now + 60_000,
    body,
  };
  await link.publish(topics.down('node', 'task'), sealEnvelope(envelope, authority.signer), { qos: 1 });
  const [told] = await until('the master is told', () => {
    const told = master.log.all('a node did not carry out its assignment');
    return told.length > 0 && told;
  });
  for (const { id } of tasks) t.match(told?.fields.reason, id);
  t.equal(lines().length, 4, 'what runs goes on');
  await agent.kill();
});

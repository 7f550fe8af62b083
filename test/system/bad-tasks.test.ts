/** Tasks that do what no task should: each ends with its reason, and neither the agent nor a task beside them feels it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import t from 'tap';
import { artifactViewSchema } from '../../src/model/artifact.ts';
import { agentConfig, lives, makeHome, masterConfig, runMaster, untilReady, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { startAgentProcess } from '../fixtures/fleet-process.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const { api } = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const config = await agentConfig(t, { dataDir: join(home, 'node'), node: 'node', join: await api.joinString() }, ports);
const agent = startAgentProcess(t, config);
const { controllers = [] } = await untilReady(api, 'node');

const sh = (script: string) => ['/bin/sh', '-c', script];
const batch = (name: string, spec: object) => job(name, { type: 'batch', ...spec });
const plain = join(home, 'plain');
writeFileSync(plain, '');
chmodSync(plain, 0o644);

await api.apply(job('good', { command: sh(`echo $$ >>${home}/good; exec sleep 100000`) }));
await untilTasks(api, 'good', 'TASK_RUNNING');
const good = Number(
  await until('it has begun', () => existsSync(`${home}/good`) && readFileSync(`${home}/good`, 'utf8')),
);
const rssBefore = rssMb();

function rssMb(): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${agent.pid}/status`, 'utf8'))?.[1]) / 1024;
}

async function endOf(name: string, state = 'TASK_FAILED') {
  const [task] = await untilTasks(api, name, state);
  return task;
}

t.test('what cannot begin, or ends at once, has its reason', async t => {
  await api.apply(
    batch('missing', { command: ['no-such-program'] }),
    batch('plain', { command: [plain] }),
    batch('brief', { command: ['false'] }),
  );
  t.match(await endOf('missing'), { message: /no-such-program: command not found/ });
  t.match(await endOf('plain'), { message: /not executable \(mode 0644\): chmod \+x helps/ });
  t.match(await endOf('brief'), { exitCode: 1, message: /exit code 1/ });
});

t.test('an archive that leads out, and one that cannot be read, fail their tasks with the reason', async t => {
  mkdirSync(join(home, 'in'));
  const archive = join(home, 'slip.tar.gz');
  execFileSync('tar', ['-czPf', archive, '-C', join(home, 'in'), '../plain']);
  const torn = execFileSync('tar', ['-cz', '-C', home, 'plain']).subarray(0, -12);
  for (const [name, bytes, message] of [
    ['slip', readFileSync(archive), /leads out/],
    ['torn', torn, /damaged/],
  ] as const) {
    const { address } = await api.client.push('/v1/artifacts', Readable.from([bytes]), artifactViewSchema);
    await api.apply(batch(name, { command: ['true'], artifacts: [{ source: address }] }));
    t.match(await endOf(name), { reason: 'REASON_CONTAINER_LAUNCH_FAILED', message });
  }
  const { address } = await api.client.push('/v1/artifacts', Readable.from(['what is meant']), artifactViewSchema);
  const stored = join(home, 'master/artifacts', address.replace('mesolite:', ''));
  writeFileSync(stored, 'another thing');
  await api.apply(batch('other', { command: ['true'], artifacts: [{ source: address, destination: 'file' }] }));
  t.match(await endOf('other'), { message: /its sha256 is [0-9a-f]+, expected/ });
});

t.test('a memory hog is ended when it has more than it may have', async t => {
  const script = 'const all = []; setInterval(() => all.push(Buffer.alloc(1e6, 1)), 20)';
  await api.apply(batch('hog', { resources: { mem: 96 }, command: [process.execPath, '-e', script] }));
  t.match(await endOf('hog'), { reason: 'REASON_CONTAINER_LIMITATION_MEMORY', message: /memory/ });
});

t.test('a disk filler is ended when it has written more than it may', async t => {
  const script = 'while :; do head -c 500000 /dev/zero >>file; sleep 0.1; done';
  await api.apply(job('filler', { resources: { disk: 5 }, command: sh(script) }));
  const end = await endOf('filler');
  t.match(end, {
    reason: 'REASON_CONTAINER_LIMITATION_DISK',
    restarts: 0,
    message: /took .* on the disk, and may have 5\.0 MB/,
  });
});

t.test('a flood of 1 GB of output leaves no more than its bound, and says what was left out', async t => {
  await api.apply(job('flood', { command: sh('yes | head -c 1000000000; exec sleep 100000') }));
  const [task] = await untilTasks(api, 'flood', 'TASK_RUNNING');
  const file = join(config.dataDir, 'tasks', task?.id ?? '', 'stdout.log');
  const mebi = 1024 * 1024;
  const text = (path: string) => (existsSync(path) ? readFileSync(path, 'latin1') : '');
  await until('it was cut', () => {
    const both = text(`${file}.1`) + text(file);
    return both.length <= 10 * mebi && /\[mesolite: [\d.]+ MiB left out here/.test(both);
  });
  t.ok(lives(good));
  await api.remove('Job', 'flood');
});

t.test('who ignores SIGTERM is killed', async t => {
  const script = `trap "" TERM; echo $$ >${home}/stubborn; sleep 100000 & wait; wait`;
  await api.apply(job('stubborn', { killGrace: '200ms', command: sh(script) }));
  const pid = Number(
    await until('it has begun', () => existsSync(`${home}/stubborn`) && readFileSync(`${home}/stubborn`)),
  );
  await untilTasks(api, 'stubborn', 'TASK_RUNNING');
  await api.remove('Job', 'stubborn');
  await until('it has ended', () => !lives(pid));
  t.pass();
});

const cgroupsMissing = process.getuid?.() !== 0 && 'takes cgroups, and so root';
t.test('who forks away twice ends with his task', { skip: cgroupsMissing }, async t => {
  const away = `${home}/away`;
  const script = `setsid sh -c 'sh -c "echo \\$\\$ >${away}; exec sleep 100000" &' ; while [ ! -s ${away} ]; do sleep 0.02; done`;
  await api.apply(batch('forker', { command: sh(script) }));
  await endOf('forker', 'TASK_FINISHED');
  const pid = Number(readFileSync(away, 'utf8'));
  t.ok(pid > 1);
  t.notOk(lives(pid));
});

const bombs = !controllers.includes('pids') && 'takes the pids controller of cgroup v2';
t.test('a fork bomb is held to its number of processes', { skip: bombs }, async t => {
  const script = 'bomb() { bomb | bomb & }; bomb; sleep 1; exit 7';
  await api.apply(batch('bomb', { limits: { pids: 50 }, maxRunTime: '20s', command: sh(script) }));
  t.match(await endOf('bomb'), { state: 'TASK_FAILED' });
});

t.test('neither the agent nor the task beside them has felt it', async t => {
  const [task] = await api.tasks('good');
  t.match(task, { state: 'TASK_RUNNING', restarts: 0 });
  t.ok(lives(good));
  t.equal(readFileSync(`${home}/good`, 'utf8').trim().split('\n').length, 1, 'there was one of it');
  const grown = rssMb() - rssBefore;
  t.ok(grown < 48, `the agent has grown by ${grown.toFixed(1)} MB`);
});

/**
 * Asks two agents for more tasks at once than they can take: a batch and then a service of `--tasks N` (10000) instances that need nothing. Of the
 * batch each task must end; of the service as many must run as nodes take, and each of the others wait with its reason; the memory of the
 * agents stays bounded. `--json` prints one object a row. The exit code is 1 when something does not hold.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isTerminal, type TaskState } from '../../src/model/task.ts';
import { maxTasksPerNode } from '../../src/model/task-slots.ts';
import { type FleetApi, job, openFleetApi } from '../../test/fixtures/fleet-api.ts';
import { FreePorts } from '../../test/fixtures/fleet-ports.ts';
import { until } from '../../test/fixtures/fleet-until.ts';
import { printRow, printTable, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, tasks: { type: 'string', default: '10000' } },
});
const count = wholeNumber(options.tasks);
const agents = ['a', 'b'] as const;
const mostRunning = Math.min(count, agents.length * maxTasksPerNode);
/** Of an agent, over what it has with no task. */
const maxGrowthMb = 160;

const main = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'mesolite-crowd-'));
const ports = new FreePorts();
const [apiPort, mqttPort] = [String(await ports.take()), String(await ports.take())];
const dataDir = join(home, 'master');

/** Ends with this process. */
function start(...args: string[]) {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  return { pid: child.pid ?? 0, ended: once(child, 'close'), end: () => child.kill('SIGTERM') };
}

async function startAgent(node: string, joinString: string) {
  const place = ['--data', join(home, node), '--node', node, '--address', '127.0.0.1', '--speed', '1'];
  const own = ['--mesh-port', `${await ports.take()}`, '--outbound-port', `${await ports.take()}`];
  return start('agent', ...place, ...own, '--join', joinString);
}

function rssMb(pid: number, peak = false): number {
  const line = peak ? /^VmHWM:\s+(\d+)/m : /^VmRSS:\s+(\d+)/m;
  return Number(line.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;
}

/** How many tasks of a job are in each state, every few seconds until `isDone`; what changes is said. */
async function follow(
  api: FleetApi,
  name: string,
  isDone: (states: ReadonlyMap<TaskState | 'waiting', number>) => boolean,
) {
  for (let said = ''; ; await setTimeout(3_000)) {
    const tasks = await api.tasks(name);
    const states = new Map<TaskState | 'waiting', number>();
    for (const { node, state } of tasks) {
      const key = node === null ? 'waiting' : state;
      states.set(key, (states.get(key) ?? 0) + 1);
    }
    const text = [...states].map(([state, number]) => `${number} ${state}`).join(', ');
    if (!options.json && text !== said) say(`${name}: ${text}`);
    said = text;
    if (tasks.length > 0 && isDone(states)) return tasks;
  }
}

const isEnd = (state: TaskState | 'waiting') => state !== 'waiting' && isTerminal(state);

async function play(api: FleetApi, pids: readonly number[]): Promise<Row[]> {
  const before = pids.map(pid => rssMb(pid));
  const nothing = { resources: { cpus: 0, mem: 0 }, instances: count };
  const row = (name: string, value: number, unit: string, goal: number, met: boolean): Row => {
    return { case: name, value, unit, peer: null, ratio: null, goal, met };
  };

  await api.apply(job('brief', { ...nothing, type: 'batch', command: ['true'] }));
  const ended = await follow(api, 'brief', states => [...states.keys()].every(isEnd));
  const finished = ended.filter(({ state }) => state === 'TASK_FINISHED').length;

  await api.apply(job('long', { ...nothing, command: ['sleep', '100000'] }));
  const tasks = await follow(api, 'long', states => states.get('TASK_RUNNING') === mostRunning);
  const waiting = tasks.filter(({ node }) => node === null);
  const explained = waiting.filter(({ message }) => message !== null && message !== '').length;
  await api.remove('Job', 'long');
  await until('all have ended', async () => (await api.nodes()).every(node => node.tasks === 0));

  const grown = Math.max(...pids.map((pid, i) => rssMb(pid, true) - (before[i] ?? 0)));
  return [
    row('tasks of the batch that ended well', finished, 'tasks', count, finished === count),
    row('tasks that ran at once', mostRunning, 'tasks', mostRunning, true),
    row('tasks that waited, with a reason', explained, 'tasks', count - mostRunning, explained === count - mostRunning),
    row('most that an agent grew', Math.round(grown), 'MB', maxGrowthMb, grown <= maxGrowthMb),
  ];
}

/** Undefined while the master has not written what it takes, or does not answer. */
async function openApi(): Promise<FleetApi | undefined> {
  try {
    const api = openFleetApi({ dataDir, apiPort: Number(apiPort) });
    await api.nodes();
    return api;
  } catch {
    return undefined;
  }
}

const where = ['--host', '127.0.0.1', '--advertise', '127.0.0.1', '--api-port', apiPort, '--mqtt-port', mqttPort];
const running = [start('master', '--data', dataDir, ...where)];
try {
  const api = await until('the master is up', openApi);
  for (const name of agents) running.push(await startAgent(name, await api.joinString()));
  await until('both nodes are there', async () => (await api.nodes()).length === agents.length);
  const rows = await play(
    api,
    running.slice(1).map(({ pid }) => pid),
  );
  if (options.json) for (const row of rows) printRow(row);
  else {
    const lines = rows.map(({ case: name, value, unit, goal, met }) => [
      name,
      `${value} ${unit}`,
      `${goal}`,
      met ? 'holds' : 'DOES NOT HOLD',
    ]);
    printTable([['', 'measured', 'goal', ''], ...lines]);
  }
  process.exitCode = rows.every(({ met }) => met) ? 0 : 1;
} finally {
  for (const { end } of running) end();
  await Promise.all(running.map(({ ended }) => ended));
  rmSync(home, { recursive: true, force: true });
}

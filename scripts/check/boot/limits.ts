import { fact, type Hold } from '../rows.ts';
import { type Board, isRunning } from './board.ts';
import type { Counter } from './counter.ts';
import { patiently } from './guest.ts';
import { checkMemory, checkNodeMemory } from './memory.ts';

/** What the kernel holds tasks to: each takes more than it may, while `counter` must go on. */
export const limits = {
  cpu: checkProcessors,
  memory: checkMemory,
  'node-memory': checkNodeMemory,
  pids: checkProcesses,
  'node-pids': checkNodeProcesses,
} as const;

async function checkProcessors(board: Board, hold: Hold): Promise<void> {
  const cpus = 0.2;
  const spec = { command: ['sh', '-c', 'while :; do :; done'], limits: { cpus } };
  const pid = await board.shimPid(await board.task('busy', spec, isRunning));
  const sample = async () => {
    const [used, now] = [await board.cgroup(pid, 'cpu.stat'), await board.text('cut -d " " -f 1 /proc/uptime')];
    return { usedMs: Number(/^usage_usec (\d+)/m.exec(used)?.[1]) / 1_000, nowMs: Number(now) * 1_000 };
  };
  const first = await sample();
  const cores = await patiently('ten seconds of work', async () => {
    const { usedMs, nowMs } = await sample();
    return nowMs - first.nowMs >= 10_000 ? (usedMs - first.usedMs) / (nowMs - first.nowMs) : undefined;
  });
  const throttled = Number(/^nr_throttled (\d+)/m.exec(await board.cgroup(pid, 'cpu.stat'))?.[1]);
  // what it wants is there: without the limit it would take a core
  hold('cpu.max: cores of a busy loop', {
    value: cores,
    unit: 'cores',
    goal: cpus,
    met: cores <= cpus * 1.1 && throttled > 0,
  });
  await board.end('busy');
}

const bomb = ['perl', '-e', 'fork while 1'];
/** More than it grows by itself while tasks come and go. */
const maxGrowthMb = 10;

async function checkProcesses(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const pids = 64;
  const agent = await board.property('MainPID');
  const before = await board.residentMb(agent);
  const pid = await board.shimPid(await board.task('bomb', { command: bomb, limits: { pids, cpus: 0.5 } }, isRunning));
  const group = await board.group(pid);
  await meetsBound(board, pid);
  const peak = Number(await board.cgroup(pid, 'pids.peak'));
  // its shim is one of them
  hold('pids.max: processes of a fork bomb', { value: peak, unit: 'processes', goal: pids + 1, met: peak <= pids + 1 });
  const growth = (await board.residentMb(agent)) - before;
  hold('pids.max: memory that the agent takes more', {
    value: growth,
    unit: 'MB',
    goal: maxGrowthMb,
    met: growth <= maxGrowthMb,
  });
  await counter.goesOn();
  hold('pids.max: the other task goes on', fact(true, 'tasks'));
  const since = (await board.ready()).lastSeen;
  await board.ready(since);
  await board.end('bomb');
  await isGone(board, group);
  hold('pids.max: processes that are left of it', { value: 0, unit: 'processes', goal: 0, met: true });
}

/** A task that says nothing of its processes may have more of them than systemd gives to a unit on a small board. */
async function checkNodeProcesses(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const process = await counter.goesOn();
  const pid = await board.shimPid(await board.task('swarm', { command: bomb, limits: { cpus: 0.5 } }, isRunning));
  const group = await board.group(pid);
  await meetsBound(board, pid);
  const most = Number(await board.cgroup(pid, 'pids.max'));
  await board.restart();
  await board.task('beside', { command: ['sleep', '100000'] }, isRunning);
  const isSame = (await counter.goesOn()) === process;
  hold(`pids.max: beside ${most} processes of a bomb the agent and another task start`, fact(isSame, 'nodes'));
  for (const job of ['swarm', 'beside']) await board.end(job);
  await isGone(board, group);
}

async function meetsBound(board: Board, pid: string): Promise<void> {
  await patiently('the bomb meets its bound', async () => {
    const events = await board.cgroup(pid, 'pids.events');
    return Number(/^max (\d+)/m.exec(events)?.[1]) > 100 ? true : undefined;
  });
}

/** Waits until the group of a task is no more, and with it all of its processes. */
async function isGone(board: Board, group: string): Promise<void> {
  await patiently(`${group} is gone`, async () =>
    (await board.guest.run(`test ! -e "/sys/fs/cgroup${group}"`)).code === 0 ? true : undefined,
  );
}

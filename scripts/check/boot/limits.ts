import type { TaskView } from '../../../src/model/api.ts';
import { eventually } from '../../quickstart/programs.ts';
import { fact, type Hold } from '../rows.ts';
import { type Board, dataDir } from './board.ts';
import { patienceMs } from './guest.ts';

const isRunning = ({ state }: TaskView) => state === 'TASK_RUNNING';
const hasFailed = ({ state }: TaskView) => state === 'TASK_FAILED';
const never = { policy: 'never' };

/** What the kernel holds tasks to: each takes more than it may, while `counter` must go on. */
export async function checkLimits(board: Board, hold: Hold, counter: Counter): Promise<void> {
  await checkProcessors(board, hold);
  await checkMemory(board, hold);
  await checkProcesses(board, hold, counter);
}

async function checkProcessors(board: Board, hold: Hold): Promise<void> {
  const cpus = 0.2;
  const spec = { command: ['sh', '-c', 'while :; do :; done'], limits: { cpus } };
  const pid = await board.shimPid(await board.task('busy', spec, isRunning));
  const sample = async () => {
    const [used, now] = [await board.cgroup(pid, 'cpu.stat'), await board.text('cut -d " " -f 1 /proc/uptime')];
    return { usedMs: Number(/^usage_usec (\d+)/m.exec(used)?.[1]) / 1_000, nowMs: Number(now) * 1_000 };
  };
  const first = await sample();
  const cores = await eventually('ten seconds of work', patienceMs, async () => {
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

async function checkMemory(board: Board, hold: Hold): Promise<void> {
  const grows = { command: ['perl', '-e', '$x .= "a" x 1048576 while 1'], limits: { mem: 48 }, restart: never };
  const ended = await board.task('grows', { type: 'batch', ...grows }, hasFailed);
  const isTold = ended.reason === 'REASON_CONTAINER_LIMITATION_MEMORY';
  hold('memory.max: a task that takes more is told so', fact(isTold, 'tasks'));
  const crashes = { type: 'batch', command: ['sh', '-c', 'kill -KILL $$'], limits: { mem: 48 }, restart: never };
  const crashed = await board.task('crashes', crashes, hasFailed);
  const isApart = crashed.reason !== ended.reason;
  hold('memory.max: one that is killed is not', fact(isApart, 'tasks'));
  for (const job of ['grows', 'crashes']) await board.end(job);
}

/** More than it grows by itself while tasks come and go. */
const maxGrowthMb = 10;

async function checkProcesses(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const pids = 64;
  const agent = await board.property('MainPID');
  const before = await board.residentMb(agent);
  const bomb = { command: ['perl', '-e', 'fork while 1'], limits: { pids, cpus: 0.5 } };
  const pid = await board.shimPid(await board.task('bomb', bomb, isRunning));
  await eventually('the bomb meets its bound', patienceMs, async () => {
    const events = await board.cgroup(pid, 'pids.events');
    return Number(/^max (\d+)/m.exec(events)?.[1]) > 100 ? true : undefined;
  });
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
  await eventually('nothing of the bomb is left', patienceMs, async () =>
    (await board.guest.run('pgrep -f "^perl -e fork"')).code === 1 ? true : undefined,
  );
  hold('pids.max: processes that are left of it', { value: 0, unit: 'processes', goal: 0, met: true });
}

/** A task that says each second which process it is. */
export class Counter {
  readonly #board: Board;
  readonly task: TaskView;

  private constructor(board: Board, task: TaskView) {
    this.#board = board;
    this.task = task;
  }

  static async start(board: Board): Promise<Counter> {
    const command = ['sh', '-c', 'while :; do echo $$; sleep 1; done'];
    return new Counter(board, await board.task('counter', { command }, isRunning));
  }

  /** Waits for more of it; resolves to the process that says it. */
  async goesOn(): Promise<string> {
    const file = `${dataDir}/tasks/${this.task.id}/stdout.log`;
    const lines = async () => Number(await this.#board.text(`wc -l < ${file}`));
    const before = await lines();
    await eventually('the counter goes on', patienceMs, async () => ((await lines()) > before + 1 ? true : undefined));
    return this.#board.text(`tail -n 1 ${file}`);
  }
}

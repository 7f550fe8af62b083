import { fact, type Hold } from '../rows.ts';
import { type Board, hasFailed, isRunning } from './board.ts';
import type { Counter } from './counter.ts';

const reason = 'REASON_CONTAINER_LIMITATION_MEMORY';
const once = { type: 'batch', restart: { policy: 'never' } };
/** Takes all the memory that it gets, and would never end; its first process takes none. */
const grows = ['sh', '-c', `perl -e 'push @x, "a" x (1e6 + @x) while 1'; exec sleep 100000`];

/** What becomes of tasks that take more memory than they may, and of those that take what they may. */
export async function checkMemory(board: Board, hold: Hold): Promise<void> {
  await checkBound(board, hold);
  await checkPace(board, hold);
}

async function checkBound(board: Board, hold: Hold): Promise<void> {
  const grown = await board.task('grows', { ...once, command: grows, limits: { mem: 48 } }, hasFailed);
  hold(
    'memory.max: a task that takes more has ended as a whole, and is told so',
    fact(grown.reason === reason, 'tasks'),
  );
  const crashes = { ...once, command: ['sh', '-c', 'kill -KILL $$'], limits: { mem: 48 } };
  const crashed = await board.task('crashes', crashes, hasFailed);
  hold('memory.max: one that is killed by another is not', fact(crashed.reason !== reason, 'tasks'));
  for (const job of ['grows', 'crashes']) await board.end(job);
}

/** A task that the kernel slows down takes a hundred times as long. */
const maxPace = 10;

async function checkPace(board: Board, hold: Hold): Promise<void> {
  // of what is always there in Debian
  const now = 'sub now { open F, "/proc/uptime"; (split " ", <F>)[0] }';
  const script = `${now} $| = 1; $t = now; push @x, "a" x (1e6 + @x) for 1..64; print now() - $t, "\\n"; sleep 100000`;
  const command = ['perl', '-e', script];
  const seconds = async (name: string, more: object) => {
    const task = await board.task(name, { command, ...more }, isRunning);
    const said = Number(await board.said(task, /^[\d.]+$/));
    await board.end(name);
    return said;
  };
  const free = await seconds('free', {});
  const within = await seconds('within', { resources: { mem: 16 }, limits: { mem: 96 } });
  const value = within / free;
  hold('limits.mem: time to fill it, beside a task without limits', {
    value,
    unit: 'times',
    goal: maxPace,
    met: value <= maxPace,
  });
}

/** What becomes of a task that takes more memory than there is. */
export async function checkNodeMemory(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const agent = await board.property('MainPID');
  const process = await counter.goesOn();
  const grown = await board.task('eats', { ...once, command: grows }, hasFailed);
  hold('the node is out of memory: the task that has it ends, and is told so', fact(grown.reason === reason, 'tasks'));
  const isSame = (await board.property('MainPID')) === agent && (await counter.goesOn()) === process;
  hold('the node is out of memory: agent and other task stay', fact(isSame, 'nodes'));
  await board.end('eats');
}

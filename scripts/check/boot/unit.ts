import { readFileSync } from 'node:fs';
import { fact, type Hold } from '../rows.ts';
import { type Board, isRunning, unit } from './board.ts';
import type { Counter } from './counter.ts';

/** What systemd calls OK, from 0 to 10. */
const maxExposure = 2.5;
const asRoot = 'scripts/package/systemd/run-as-root.conf';
/** Of a task's own status: no right of root is left, and none can be got (proc_pid_status(5)). */
const isLowered = (status: string) => /^CapEff:\s+0+$/m.test(status) && /^NoNewPrivs:\s+1$/m.test(status);
const says = ['sh', '-c', 'id -un; cat /proc/self/status; exec sleep 100000'];

/** What the unit lets agent and tasks do, as the kernel has it, and where they are in the tree of cgroups: as it comes, and as root. */
export async function checkUnit(board: Board, hold: Hold, counter: Counter): Promise<void> {
  const process = await counter.goesOn();
  const said = await board.text(`systemd-analyze security --no-pager ${unit}.service`);
  const exposure = Number(/Overall exposure level for \S+: ([\d.]+)/.exec(said)?.[1]);
  hold('unit: exposure', { value: exposure, unit: 'of 10', goal: maxExposure, met: exposure <= maxExposure });
  const status = await board.text(`cat /proc/${await board.property('MainPID')}/status`);
  const isHardened = isLowered(status) && /^Uid:\s+[1-9]/m.test(status) && /^Seccomp:\s+2$/m.test(status);
  hold('unit: the agent is not root, nor can it be', fact(isHardened, 'agents'));
  await checkPlaces(board, hold, 'unit', process);

  await board.restart(readFileSync(asRoot, 'utf8'));
  const user = await tell(board, 'user', { user: 'nobody' });
  hold('as root: a task is its user, without rights', fact(user.name === 'nobody' && isLowered(user.status), 'tasks'));
  const root = await tell(board, 'root', {});
  hold(
    'as root: one without a user has no rights of root',
    fact(root.name === 'root' && isLowered(root.status), 'tasks'),
  );
  await checkPlaces(board, hold, 'as root', user.pid);
  for (const job of ['user', 'root']) await board.end(job);
  await board.restart();
  hold('as root and back: the task stays', fact((await counter.goesOn()) === process, 'tasks'));
}

async function tell(board: Board, name: string, more: object) {
  const task = await board.task(name, { command: says, ...more }, isRunning);
  const text = await board.said(task, /^NoNewPrivs:/m);
  return { name: text.split('\n')[0], status: text, pid: await board.shimPid(task) };
}

/** Both are in what systemd has handed over, the agent in its leaf, the task beside it. */
async function checkPlaces(board: Board, hold: Hold, as: string, pid: string): Promise<void> {
  const [agent, task] = [await board.group(await board.property('MainPID')), await board.group(pid)];
  const met = agent.endsWith(`/${unit}.service/agent`) && task.includes(`/${unit}.service/mesolite-`);
  hold(`${as}: agent and tasks are side by side in the delegated subtree`, fact(met, 'subtrees'));
}

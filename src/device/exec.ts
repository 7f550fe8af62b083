import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import type { Readable } from 'node:stream';
import { shell, yieldToAgent } from './shim.ts';

export interface ExecRequest {
  readonly command: readonly string[];
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** The directory of the cgroup that it enters. */
  readonly group?: string | undefined;
  /** What it reads; nothing when absent. */
  readonly stdin?: string | undefined;
}

/** A command that somebody waits for: it ends with whoever does, and all that it started with it. */
export interface RunningCommand {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** With what it ended, as shells count it: 128 and more for a signal. Its group is gone by then. */
  readonly exited: Promise<number>;
  kill(): void;
}

/**
 * `sh -c <this> mesolite-exec <cgroup, or nothing> <command …>`, the leader of a session of its own. Descriptor 3 is a pipe from the agent: when that is gone,
 * however it ended, the group is. What it relies on is said at `shimScript`.
 */
const execScript = `
group=$1; shift
if [ -n "$group" ]; then echo $$ >"$group/cgroup.procs" || exit 125; fi
exec 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
(exec >&- 2>&-; read -r word <&3; kill -KILL 0) &
(
  exec 3<&-
  ${yieldToAgent}
  exec "$@"
)
exit $?
`;

/** Throws when it cannot be started; a program that is not there is the shell's 127, with its message on standard error. */
export async function startCommand({ command, env, cwd, group = '', stdin }: ExecRequest): Promise<RunningCommand> {
  const child = spawn(shell, ['-c', execScript, 'mesolite-exec', group, ...command], {
    cwd,
    env,
    detached: true,
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
  });
  await once(child, 'spawn');
  // a command need not read what it is given
  child.stdin.on('error', () => {});
  child.stdin.end(stdin ?? '');
  const lifeline = child.stdio[3];
  lifeline?.on('error', () => {});
  const kill = () => {
    killGroup(child);
    // what has left the group may hold them open
    child.stdout.destroy();
    child.stderr.destroy();
  };
  return { stdout: child.stdout, stderr: child.stderr, exited: endOf(child), kill };
}

async function endOf(child: ChildProcess): Promise<number> {
  const [code, signal]: [number | null, NodeJS.Signals | null] = await new Promise(resolve => {
    child.once('exit', (...end) => resolve(end));
  });
  // the group is still there: in it is the one that waits for our end
  killGroup(child);
  return code ?? 128 + constants.signals[signal ?? 'SIGKILL'];
}

function killGroup({ pid }: ChildProcess): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL');
  } catch {
    // it is gone
  }
}

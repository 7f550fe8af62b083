import type { ChildProcess } from 'node:child_process';
import type { Clock } from '../base/clock.ts';
import { onAbort } from '../base/signal.ts';
import type { TaskExit } from '../lifecycle/task-exit.ts';
import type { Cgroup } from './cgroup.ts';
import { groupLives, isAlive, type ProcessIdentity, signalGroup } from './process-identity.ts';
import { exitOf, readExit } from './run-directory.ts';

/** How often, and how many times, a group that should be gone is told so again. */
const reapMs = 25;
const reapRounds = 80;

/** How a shim ended: both are null when it was not our child. */
export interface ChildEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

/** Settles when the child exits; undefined when `signal` aborts first, and the child no longer holds the agent. */
export function endOfChild(child: ChildProcess, signal: AbortSignal): Promise<ChildEnd | undefined> {
  return new Promise(resolve => {
    const forget = onAbort(signal, () => {
      child.unref();
      resolve(undefined);
    });
    child.once('error', () => {
      forget();
      resolve(undefined);
    });
    child.once('exit', (code, name) => {
      forget();
      resolve({ code, signal: name });
    });
  });
}

/** The same for a process that is not our child: it is looked at every `pollMs`. */
export async function endOfStranger(
  clock: Clock,
  pollMs: number,
  identity: ProcessIdentity,
  signal: AbortSignal,
): Promise<ChildEnd | undefined> {
  while (await clock.sleep(pollMs, signal)) {
    if (!(await isAlive(identity))) return { code: null, signal: null };
  }
  return undefined;
}

/** What there is of a run: who leads it, its directory, its cgroup. */
export interface RunLeft {
  readonly identity: ProcessIdentity;
  readonly run: string;
  readonly cgroup: Cgroup | undefined;
}

/** When the shim is gone: ends what may be left of the run, so that its ports are free, and tells how it ended. */
export async function settle(
  clock: Clock,
  gone: Promise<ChildEnd | undefined>,
  left: RunLeft,
  signal: AbortSignal,
): Promise<TaskExit | undefined> {
  const end = await gone;
  return end && endOfRun(clock, left, signal, end);
}

/** The same for a shim that is gone; what it has written itself is believed before how it went (`end`). */
export async function endOfRun(
  clock: Clock,
  { identity, run, cgroup }: RunLeft,
  signal: AbortSignal,
  end: ChildEnd = { code: null, signal: null },
): Promise<TaskExit> {
  const bounds: Pick<TaskExit, 'outOfMemory' | 'outOfProcesses'> = {
    ...((cgroup?.oomKills() ?? 0) > 0 && { outOfMemory: true }),
    ...((cgroup?.refusedForks() ?? 0) > 0 && { outOfProcesses: true }),
  };
  await clearGroup(clock, identity, signal);
  await cgroup?.end(signal);
  const exit = (await readExit(run)) ?? seenEnd(end);
  return { ...exit, ...bounds };
}

function seenEnd({ code, signal }: ChildEnd): TaskExit {
  if (signal !== null) return { kind: 'signaled', signal };
  return code === null ? { kind: 'unknown' } : exitOf(code);
}

/** Ends what is left of a group, whose leader is gone. */
async function clearGroup(clock: Clock, identity: ProcessIdentity, signal: AbortSignal): Promise<void> {
  for (let round = 0; round < reapRounds && groupLives(identity); round++) {
    signalGroup(identity, 'SIGKILL');
    if (!(await clock.sleep(reapMs, signal))) return;
  }
}

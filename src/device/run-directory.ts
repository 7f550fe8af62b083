import { mkdir, open, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import type { TaskExit } from '../lifecycle/task-exit.ts';
import type { ProcessIdentity } from './process-identity.ts';

// A task's directory holds `stdout.log`, `stderr.log`, `sandbox/` (its working directory) and one `run.<id>/` for the run
// that is or was, in which the shim writes `pid` and `exit`. A new run has a new name: whoever removes an empty run
// directory has thereby cancelled a shim that has not begun.

const runPrefix = 'run.';
const maxFileBytes = 1_024;

/** Makes the directory of a new run and removes those before. */
export async function beginRun(taskDirectory: string, id: string): Promise<string> {
  for (const earlier of await listRuns(taskDirectory)) await rm(earlier, { recursive: true, force: true });
  const run = join(taskDirectory, `${runPrefix}${id}`);
  await mkdir(run, { mode: 0o700 });
  return run;
}

/** The run directories of a task; normally one at most. */
export async function listRuns(taskDirectory: string): Promise<string[]> {
  try {
    const entries = await readdir(taskDirectory);
    return entries.filter(entry => entry.startsWith(runPrefix)).map(entry => join(taskDirectory, entry));
  } catch {
    return [];
  }
}

/** Takes a run away from a shim that has not begun it; false when it has begun. */
export async function cancelRun(run: string): Promise<boolean> {
  try {
    await rmdir(run);
    return true;
  } catch {
    return false;
  }
}

/** Who runs or ran it; undefined while the shim has not written that. */
export async function readIdentity(run: string): Promise<ProcessIdentity | undefined> {
  const [pid, boot, start, cgroup] = ((await readSmall(join(run, 'pid'))) ?? '').split('\n');
  if (!/^\d+$/.test(pid ?? '') || boot === undefined || start === undefined || start === '') return undefined;
  return { pid: Number(pid), boot, start, ...(cgroup && { cgroup }) };
}

/** How it ended; undefined while it has not, or when nobody saw. */
export async function readExit(run: string): Promise<TaskExit | undefined> {
  const match = /^(\d{1,3})\n/.exec((await readSmall(join(run, 'exit'))) ?? '');
  return match === null ? undefined : exitOf(Number(match[1]));
}

/** How long a run that has ended took, by the times of its two files: 0 when they do not tell. */
export async function readRanMs(run: string): Promise<number> {
  try {
    const [began, ended] = await Promise.all([stat(join(run, 'pid')), stat(join(run, 'exit'))]);
    return Math.max(0, Math.round(ended.mtimeMs - began.mtimeMs));
  } catch {
    return 0;
  }
}

/** A shell's status: 128 + n is signal n, as every shell has it; a program that exits with such a code looks the same. */
export function exitOf(status: number): TaskExit {
  const signal = Object.entries(osConstants.signals).find(([, number]) => number === status - 128);
  return signal === undefined ? { kind: 'exited', code: status } : { kind: 'signaled', signal: signal[0] };
}

async function readSmall(path: string): Promise<string | undefined> {
  try {
    const file = await open(path, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(maxFileBytes), 0, maxFileBytes, 0);
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

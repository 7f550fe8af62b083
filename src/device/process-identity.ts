import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** A process that cannot be mistaken for a later one of the same id. */
export interface ProcessIdentity {
  readonly pid: number;
  /** The machine's boot, `-` where the system does not tell. */
  readonly boot: string;
  /** Clock ticks since that boot (proc_pid_stat(5), field 22), or what `ps -o lstart` prints. */
  readonly start: string;
  /** The cgroup that it put itself into, by its place in the file system. */
  readonly cgroup?: string;
}

/** Clock ticks in a second: 100 on every Linux that Node runs on. */
const ticksPerSecond = 100;

export interface Stat {
  readonly state: string;
  readonly group: number;
  readonly session: number;
  readonly start: string;
}

// /proc answers from memory: a synchronous read takes some microseconds, less than a turn of the thread pool
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * What /proc tells of a process, as of its first thread; undefined when it is gone. Not `/proc/PID/stat`: an emulator of processors (qemu-user)
 * answers a process that asks for its own, with a start time that nobody else is told.
 */
export function readStat(pid: number | string): Stat | undefined {
  const text = readText(`/proc/${pid}/task/${pid}/stat`);
  if (text === undefined) return undefined;
  // the name stands in parentheses and may hold anything, parentheses too
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, , group, session] = fields;
  const start = fields[19];
  if (state === undefined || group === undefined || start === undefined) return undefined;
  return { state, group: Number(group), session: Number(session), start };
}

/** The machine's boot: another one after each start of the kernel; `-` where the system does not tell. */
export function currentBoot(): string {
  return readText('/proc/sys/kernel/random/boot_id')?.trim() ?? noBoot;
}

const noBoot = '-';

/** Has this system a /proc? */
export function hasProc(): boolean {
  return currentBoot() !== noBoot;
}

/** Does this very process live? A zombie does not. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  const boot = currentBoot();
  if (identity.boot !== boot) return false;
  if (boot !== noBoot) {
    const stat = readStat(identity.pid);
    return stat !== undefined && stat.start === identity.start && stat.state !== 'Z' && stat.state !== 'X';
  }
  return (await startBySystemTool(identity.pid)) === identity.start;
}

/** How long this process has run, in milliseconds; 0 where the system does not tell. */
export function ranMs(identity: ProcessIdentity): number {
  const uptime = Number(readText('/proc/uptime')?.split(' ')[0]);
  const started = Number(identity.start) / ticksPerSecond;
  return Number.isFinite(uptime) && Number.isFinite(started) ? Math.max(0, Math.round((uptime - started) * 1000)) : 0;
}

/**
 * Signals the process group that this process leads or led; false when the group is empty. A process id is not given
 * to another process while its group lives, so a leader with another start time means that the group is gone.
 */
export function signalGroup(identity: ProcessIdentity, signal: NodeJS.Signals | 0): boolean {
  // to kill(2) a group of 0 is one's own, and of 1 means everybody
  if (identity.pid <= 1 || identity.boot !== currentBoot()) return false;
  const leader = readStat(identity.pid);
  if (leader !== undefined && leader.start !== identity.start) return false;
  try {
    process.kill(-identity.pid, signal);
    return true;
  } catch {
    return false;
  }
}

/** Does any process of the group live? Zombies, which nobody may ever reap in a container, do not count. */
export function groupLives(identity: ProcessIdentity): boolean {
  if (!signalGroup(identity, 0)) return false;
  if (!hasProc()) return true;
  return readdirSync('/proc').some(entry => {
    if (!/^\d+$/.test(entry)) return false;
    const stat = readStat(entry);
    return stat !== undefined && stat.group === identity.pid && stat.state !== 'Z' && stat.state !== 'X';
  });
}

function startBySystemTool(pid: number): Promise<string | undefined> {
  return new Promise(resolve => {
    execFile('ps', ['-o', 'lstart=', '-p', String(pid)], { timeout: 5_000 }, (error, stdout) => {
      resolve(error === null ? stdout.trim() : undefined);
    });
  });
}

/** The identity of a process that lives now; undefined when there is none of that id. */
export async function identify(pid: number): Promise<ProcessIdentity | undefined> {
  const start = hasProc() ? readStat(pid)?.start : await startBySystemTool(pid);
  return start === undefined ? undefined : { pid, boot: currentBoot(), start };
}

/** This process's own. */
export async function ownIdentity(): Promise<ProcessIdentity> {
  return (await identify(process.pid)) ?? { pid: process.pid, boot: noBoot, start: noBoot };
}

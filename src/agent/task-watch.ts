import { join } from 'node:path';
import { type Clock, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import { readDisk } from '../device/disk.ts';
import { readDiskUsage } from '../device/disk-usage.ts';
import { type RunningProcess, sandboxName } from '../device/process.ts';
import { readTaskMemory } from '../device/task-memory.ts';
import type { Limited } from '../lifecycle/task-life.ts';
import type { TaskSpec } from '../model/task.ts';
import { diskBytesOf, memoryBytesOf } from './task-limits.ts';

/** A task that runs. */
export interface WatchedTask {
  readonly spec: TaskSpec;
  readonly directory: string;
  readonly process: RunningProcess;
  /** It has taken more than it may have, and is to end. */
  exceeded(what: Limited, message: string): void;
}

const everyMs = { memory: 2_000, disk: 6_000 };

/** So often where there is nothing to look at, or where no task is likely to take more than it may have before the next look. */
const idleMs = 10_000;
/** One is that is new, or has so much of its limit, or has so much more of it than at the last look. */
const youngMs = minuteMs;
const nearShare = 0.5;
const grownShare = 0.1;

/** However little has grown, what was given back elsewhere may hide what a task has taken. */
const countAgainMs = 10 * minuteMs;

/**
 * Holds tasks to what the kernel does not: to their memory where `holdsMemory` says so of a process, and to their disk. Files are
 * counted only once the disk as a whole has filled by what the task nearest to its bound had left.
 */
export async function watchTasks(
  parts: {
    readonly clock: Clock;
    readonly log: Log;
    readonly dataDir: string;
    readonly tasks: () => readonly WatchedTask[];
    /** Does the kernel hold this process to its memory? */
    readonly holdsMemory: (process: RunningProcess) => boolean;
    /** Has `task` called each time that one was started. */
    readonly onStarted: (task: () => void) => void;
  },
  signal: AbortSignal,
): Promise<void> {
  const { clock, dataDir, tasks, holdsMemory } = parts;
  const log = parts.log;

  const seen = new WeakMap<RunningProcess, { readonly since: number; readonly bytes: number }>();

  function mayTakeMore(process: RunningProcess, bytes: number, limit: number): boolean {
    const now = clock.monotonic();
    const before = seen.get(process) ?? { since: now - process.ranMs, bytes };
    seen.set(process, { since: before.since, bytes });
    const isYoung = now - before.since < youngMs;
    return isYoung || bytes > nearShare * limit || bytes - before.bytes > grownShare * limit;
  }

  /** How soon to look again. */
  function lookAtMemory(): number {
    const watched = tasks().flatMap(task => {
      const limit = memoryBytesOf(task.spec);
      const { pid, cgroup } = task.process;
      return limit === undefined || holdsMemory(task.process) ? [] : [{ task, limit, pid, cgroup }];
    });
    let isSoon = false;
    if (watched.length > 0)
      for (const [{ task, limit }, bytes] of readTaskMemory(watched)) {
        if (bytes > limit) end(task, 'memory', bytes, limit);
        if (mayTakeMore(task.process, bytes, limit)) isSoon = true;
      }
    return isSoon ? everyMs.memory : idleMs;
  }

  let counted:
    | { readonly tasks: string; readonly at: number; readonly usedMb: number; readonly leastLeftMb: number }
    | undefined;

  async function lookAtDisk(): Promise<number> {
    const watched = tasks().flatMap(task => {
      const limit = diskBytesOf(task.spec);
      // what it says is beside that, and has a bound of its own
      return limit === undefined ? [] : [{ task, limit, sandbox: join(task.directory, sandboxName) }];
    });
    if (watched.length === 0) return idleMs;
    const names = watched.map(({ task }) => task.spec.id).join(' ');
    const usedMb = readDisk(dataDir)?.usedMb ?? 0;
    const isNear = counted === undefined || usedMb - counted.usedMb >= counted.leastLeftMb;
    const isOld = counted === undefined || clock.monotonic() - counted.at >= countAgainMs;
    if (!isNear && !isOld && counted?.tasks === names) return everyMs.disk;
    const used = await readDiskUsage(
      watched.map(({ sandbox }) => sandbox),
      signal,
    );
    let leastLeft = Number.POSITIVE_INFINITY;
    for (const { task, limit, sandbox } of watched) {
      const bytes = used.get(sandbox) ?? 0;
      if (bytes > limit) end(task, 'disk', bytes, limit);
      else leastLeft = Math.min(leastLeft, limit - bytes);
    }
    counted = { tasks: names, at: clock.monotonic(), usedMb, leastLeftMb: leastLeft / 1_048_576 };
    return everyMs.disk;
  }

  function end(task: WatchedTask, what: Limited, bytes: number, limit: number): void {
    const of = what === 'memory' ? 'of memory' : 'on the disk';
    const message = `took ${megabytes(bytes)} ${of}, and may have ${megabytes(limit)}`;
    log.warn('a task took more than it may have, and is ended', { task: task.spec.id, message });
    task.exceeded(what, message);
  }

  async function watchDisk(): Promise<void> {
    for (let ms = idleMs; await clock.sleep(ms, signal, 'loop'); ) ms = await lookAtDisk();
  }

  let hurry = () => {};
  parts.onStarted(() => hurry());

  async function watchMemory(): Promise<void> {
    let waiting = new AbortController();
    const stop = () => waiting.abort();
    onAbort(signal, stop);
    for (let ms = everyMs.memory; !signal.aborted; ) {
      hurry = ms > everyMs.memory ? stop : () => {};
      const isOver = await clock.sleep(ms, waiting.signal, 'loop');
      if (!isOver) waiting = new AbortController();
      ms = isOver ? lookAtMemory() : everyMs.memory;
    }
  }

  await Promise.all([watchMemory(), watchDisk()]);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MB`;
}

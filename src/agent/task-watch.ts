import { type Clock, minuteMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { readDisk } from '../device/disk.ts';
import { readDiskUsage } from '../device/disk-usage.ts';
import type { RunningProcess } from '../device/process.ts';
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

/** So often where there is nothing to look at, or where each task has as much of its memory left as it has taken. */
const idleMs = 10_000;
const nearShare = 0.5;

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
  },
  signal: AbortSignal,
): Promise<void> {
  const { clock, dataDir, tasks, holdsMemory } = parts;
  const log = parts.log;

  /** How soon to look again. */
  function lookAtMemory(): number {
    const watched = tasks().flatMap(task => {
      const limit = memoryBytesOf(task.spec);
      const { pid, cgroup } = task.process;
      return limit === undefined || holdsMemory(task.process) ? [] : [{ task, limit, pid, cgroup }];
    });
    let isNear = false;
    if (watched.length > 0)
      for (const [{ task, limit }, bytes] of readTaskMemory(watched)) {
        if (bytes > limit) end(task, 'memory', bytes, limit);
        if (bytes > nearShare * limit) isNear = true;
      }
    return isNear ? everyMs.memory : idleMs;
  }

  let counted:
    | { readonly tasks: string; readonly at: number; readonly usedMb: number; readonly leastLeftMb: number }
    | undefined;

  async function lookAtDisk(): Promise<number> {
    const watched = tasks().flatMap(task => {
      const limit = diskBytesOf(task.spec);
      return limit === undefined ? [] : [{ task, limit }];
    });
    if (watched.length === 0) return idleMs;
    const names = watched.map(({ task }) => task.spec.id).join(' ');
    const usedMb = (await readDisk(dataDir))?.usedMb ?? 0;
    const isNear = counted === undefined || usedMb - counted.usedMb >= counted.leastLeftMb;
    const isOld = counted === undefined || clock.monotonic() - counted.at >= countAgainMs;
    if (!isNear && !isOld && counted?.tasks === names) return everyMs.disk;
    const used = await readDiskUsage(
      watched.map(({ task }) => task.directory),
      signal,
    );
    let leastLeft = Number.POSITIVE_INFINITY;
    for (const { task, limit } of watched) {
      const bytes = used.get(task.directory) ?? 0;
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

  async function again(look: () => number | Promise<number>): Promise<void> {
    for (let ms = idleMs; await clock.sleep(ms, signal, 'loop'); ) ms = await look();
  }

  await Promise.all([again(lookAtMemory), again(lookAtDisk)]);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_048_576).toFixed(1)} MB`;
}

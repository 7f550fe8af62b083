import type { CgroupLimits } from '../device/cgroup.ts';
import type { TaskSpec } from '../model/task.ts';

/** Processes and threads of a task that does not say how many it may have: enough for what is no fork bomb. */
export const defaultPids = 1_024;

const bytesPerMilliMb = 1_048_576 / 1_000;

/** The memory that a task may have, in bytes; undefined when it did not say. */
export function memoryBytesOf({ limits }: TaskSpec): number | undefined {
  return limits?.mem === undefined ? undefined : Math.round(limits.mem * bytesPerMilliMb);
}

/** The disk that a task may have, in bytes; undefined when it did not say. */
export function diskBytesOf({ resources }: TaskSpec): number | undefined {
  const { disk = 0 } = resources.scalars;
  return disk === 0 ? undefined : Math.round(disk * bytesPerMilliMb);
}

/** What the kernel is to hold a task to. */
export function cgroupLimitsOf(spec: TaskSpec): CgroupLimits {
  const { cpus = 0 } = spec.resources.scalars;
  const { limits = {} } = spec;
  return {
    cpuWeight: cpus / 10,
    cpus: limits.cpus === undefined ? undefined : limits.cpus / 1_000,
    memoryBytes: memoryBytesOf(spec),
    memoryHighBytes: limits.memHigh === undefined ? undefined : Math.round(limits.memHigh * bytesPerMilliMb),
    pids: limits.pids ?? defaultPids,
  };
}

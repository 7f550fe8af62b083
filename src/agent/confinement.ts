import { chmod } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { openCgroups } from '../device/cgroup.ts';
import { findCgroupTree } from '../device/cgroup-tree.ts';
import { openPrivileges, type Privileges } from '../device/privileges.ts';
import { makeProcesses, type Processes } from '../device/process.ts';
import { sha256Hex } from '../identity/keys.ts';
import { type WatchedTask, watchTasks } from './task-watch.ts';

/** What keeps the tasks of this node from taking more than they may. */
export interface Confinement {
  readonly processes: Processes;
  /** As whom tasks run. */
  readonly lower: Privileges['lower'];
  /** What the kernel holds tasks to here. */
  readonly controllers: string[];
  /** What nobody holds them to, and what would help. */
  readonly warnings: readonly string[];
  /** Holds tasks to what the kernel does not, until `signal` aborts. */
  watch(tasks: () => readonly WatchedTask[], signal: AbortSignal): Promise<void>;
}

/** Finds what this system can do; what it cannot is in the log once. */
export async function openConfinement(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  { dataDir, taskUser }: { readonly dataDir: string; readonly taskUser?: string | undefined },
): Promise<Confinement> {
  const owner = sha256Hex(resolve(dataDir)).slice(0, 12);
  const isRoot = process.getuid?.() === 0;
  const { cgroups, warnings: ofCgroups } = openCgroups({ tree: findCgroupTree(), clock }, { owner, isRoot });
  const privileges = await openPrivileges({ isRoot, defaultUser: taskUser });
  const warnings = [...ofCgroups, ...privileges.warnings];
  for (const warning of warnings) log.warn('tasks are not held to all that they may use', { warning });
  const processes = makeProcesses({ clock, cgroups });
  let onStarted = () => {};
  const hasMemory = cgroups?.controllers.has('memory') === true;
  return {
    processes: {
      ...processes,
      async start(...request) {
        const result = await processes.start(...request);
        onStarted();
        return result;
      },
    },
    async lower(user, capabilities) {
      const lowered = await privileges.lower(user, capabilities);
      // the way to its directory, with nothing to be listed on it
      if ('owner' in lowered) for (const path of [dataDir, join(dataDir, 'tasks')]) await chmod(path, 0o711);
      return lowered;
    },
    controllers: [...(cgroups?.controllers ?? [])],
    warnings,
    watch: (tasks, signal) =>
      watchTasks(
        {
          ...{ clock, log, dataDir, tasks },
          holdsMemory: ({ cgroup }) => hasMemory && cgroup !== undefined,
          onStarted(task) {
            onStarted = task;
          },
        },
        signal,
      ),
  };
}

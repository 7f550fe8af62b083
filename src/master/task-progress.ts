import type { Clock } from '../base/clock.ts';
import type { ProgressReport } from '../model/message.ts';
import type { Progress, TaskStatus } from '../model/task.ts';
import { maxTasksPerNode } from '../model/task-slots.ts';
import type { TaskRecord } from '../store/task-record.ts';

/** A task's own word, and when it was heard, in milliseconds since 1970. */
export interface HeardProgress extends Progress {
  readonly at: number;
}

/** How far tasks are, as their nodes tell: in memory alone, for each birth tells all of it again. */
export interface TaskProgress {
  onBirth(node: string, statuses: readonly TaskStatus[]): void;
  onHeartbeat(node: string, reports: readonly ProgressReport[]): void;
  onEnded(task: Pick<TaskRecord, 'id' | 'node'>): void;
  of(task: Pick<TaskRecord, 'id' | 'node'>): HeardProgress | undefined;
  /** Hears of tasks whose progress has changed. */
  watch(listener: (tasks: readonly string[]) => void): void;
}

export function makeTaskProgress({ clock }: { readonly clock: Clock }): TaskProgress {
  const nodes = new Map<string, Map<string, HeardProgress>>();
  const listeners: ((tasks: readonly string[]) => void)[] = [];

  function enter(node: string, reports: readonly ProgressReport[]): void {
    if (reports.length === 0) return;
    const heard = nodes.get(node) ?? new Map<string, HeardProgress>();
    nodes.set(node, heard);
    const at = clock.now();
    for (const { task, ...progress } of reports) {
      if (heard.has(task) || heard.size < maxTasksPerNode) heard.set(task, { ...progress, at });
    }
    for (const listener of listeners) listener(reports.map(({ task }) => task));
  }

  return {
    onBirth(node, statuses) {
      nodes.delete(node);
      enter(
        node,
        statuses.flatMap(({ task, progress }) => (progress === undefined ? [] : [{ task, ...progress }])),
      );
    },
    onHeartbeat: enter,
    onEnded: ({ id, node }) => void nodes.get(node ?? '')?.delete(id),
    of: ({ id, node }) => nodes.get(node ?? '')?.get(id),
    watch: listener => void listeners.push(listener),
  };
}

import type { PendingTask } from './pending.ts';

export interface RankSettings {
  /** Inside a class of priority: the longest first (shorter batches, see README.md), or as they came. */
  readonly order: 'longestFirst' | 'arrival';
  /** A task that waits climbs by one priority in this time, so that nothing is overtaken for ever. */
  readonly agingMs: number;
}

/** Priority with the climb of those that wait: after 100 × `agingMs` the least outranks whatever comes new. */
export function effectivePriority(task: PendingTask, now: number, agingMs: number): number {
  return task.priority + Math.floor(Math.max(0, now - task.submittedAt) / agingMs);
}

/**
 * The order in which tasks choose their place: priority with age, then by `settings.order`, then as they came, then by id:
 * equal input always gives the same order. `expectedMs` is how long a task takes where it is fastest.
 */
export function rankPending(
  pending: readonly PendingTask[],
  now: number,
  settings: RankSettings,
  expectedMs: (task: PendingTask) => number,
): PendingTask[] {
  const ranked = pending.map(task => ({
    task,
    priority: effectivePriority(task, now, settings.agingMs),
    length: settings.order === 'longestFirst' ? expectedMs(task) : 0,
  }));
  ranked.sort(
    (a, b) =>
      b.priority - a.priority ||
      b.length - a.length ||
      a.task.submittedAt - b.task.submittedAt ||
      a.task.order - b.task.order ||
      compareIds(a.task.id, b.task.id),
  );
  return ranked.map(({ task }) => task);
}

function compareIds(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}

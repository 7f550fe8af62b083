import { defaultRole } from '../model/role.ts';
import type { PendingTask } from './pending.ts';
import type { Choice } from './placement.ts';
import { effectivePriority } from './rank.ts';

export function roleOf({ role = defaultRole }: Pick<PendingTask, 'role'>): string {
  return role;
}

/** Batch tasks that follow each other, those of a role of one priority: what the search may exchange. */
export function runsOf(tasks: readonly PendingTask[], now: number, agingMs: number): PendingTask[][] {
  const runs: PendingTask[][] = [];
  /** Of the last run: the priority of each role in it, and whether it may yet grow. */
  let levels = new Map<string, number>();
  let isOpen = false;
  for (const task of tasks) {
    const isBatch = task.type === 'batch' && task.strategy === 'completionTime' && task.togetherWith === undefined;
    const [role, level] = [roleOf(task), effectivePriority(task, now, agingMs)];
    if (isOpen && isBatch && (levels.get(role) ?? level) === level) runs.at(-1)?.push(task);
    else {
      runs.push([task]);
      levels = new Map();
    }
    levels.set(role, level);
    isOpen = isBatch;
  }
  return runs;
}

/** A task with its place. */
export interface Settled {
  readonly task: PendingTask;
  readonly choice: Choice;
}

/** Does all of it end sooner, and of several roles none later than before or with fewer tasks now? */
export function isBetter(tried: readonly Settled[], plain: readonly Settled[], now: number): boolean {
  const [after, before] = [outcomesOf(tried, now), outcomesOf(plain, now)];
  const lastEnd = (outcomes: typeof after) => Math.max(...[...outcomes.values()].map(({ endAt }) => endAt));
  if (!(lastEnd(after) < lastEnd(before))) return false;
  return [...before].every(([role, { endAt, starting }]) => {
    const own = after.get(role);
    return before.size === 1 || (own !== undefined && own.endAt <= endAt && own.starting >= starting);
  });
}

/** By role, when the last of its tasks ends and how many start now. */
function outcomesOf(settled: readonly Settled[], now: number) {
  const outcomes = new Map<string, { endAt: number; starting: number }>();
  for (const { task, choice } of settled) {
    const { endAt, starting } = outcomes.get(roleOf(task)) ?? { endAt: 0, starting: 0 };
    const starts = choice.startAt === now ? 1 : 0;
    outcomes.set(roleOf(task), { endAt: Math.max(endAt, choice.endAt), starting: starting + starts });
  }
  return outcomes;
}

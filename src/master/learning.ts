import type { Clock } from '../base/clock.ts';
import {
  type Estimates,
  learn,
  maxEstimates,
  noEstimates,
  oldestOf,
  recall,
  rowsOf,
  stagingOf,
} from '../scheduling/estimates.ts';
import type { PlannedLaunch } from '../scheduling/plan.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { FleetNode } from './fleet.ts';
import { classOf } from './pending-task.ts';

/** What tasks teach of how long their like take to start and to run, kept in the store. */
export interface Learning {
  load(): Promise<void>;
  readonly estimates: Estimates;
  /** Tasks were placed now. What they fetch is reckoned by its size: the rest of their start is learned. */
  onPlaced(launches: readonly Pick<PlannedLaunch, 'task' | 'fetchMs'>[]): void;
  onStarted(task: TaskRecord): void;
  onEnded(task: TaskRecord): void;
  /** Writes all that was learned since the last time, in one transaction: what a crash takes is learned again. */
  keep(): Promise<void>;
}

export function makeLearning({
  store,
  fleet,
  clock,
}: {
  readonly store: Pick<Store, 'estimates'>;
  readonly fleet: { get(node: string): FleetNode | undefined };
  readonly clock: Clock;
}): Learning {
  let estimates: Estimates = noEstimates;
  /** By the master's clock, of tasks that do not run yet: nodes may have another time. Later by what they fetch. */
  const placedAt = new Map<string, number>();
  const learned = { classes: new Set<string>(), profiles: new Set<string>() };

  function study({ type, node }: TaskRecord, name: string, durationMs: number): void {
    const birth = node === null ? undefined : fleet.get(node)?.birth;
    // how long a service takes is nobody's question
    if (type !== 'batch' || !birth) return;
    estimates = learn(estimates, { class: name, profile: birth.profile, speed: birth.speed ?? 1, durationMs });
    learned.classes.add(name);
    learned.profiles.add(birth.profile);
  }

  return {
    async load() {
      estimates = recall(await store.estimates.list());
    },
    get estimates() {
      return estimates;
    },
    onPlaced(launches) {
      for (const { task, fetchMs = 0 } of launches) placedAt.set(task, clock.monotonic() + fetchMs);
    },
    onStarted(task) {
      const at = placedAt.get(task.id);
      placedAt.delete(task.id);
      if (at !== undefined) study(task, stagingOf(classOf(task)), clock.monotonic() - at);
    },
    onEnded(task) {
      placedAt.delete(task.id);
      if (task.state === 'TASK_FINISHED' && task.ranMs !== null) study(task, classOf(task), task.ranMs);
    },
    async keep() {
      if (learned.classes.size === 0) return;
      const rows = rowsOf(estimates, learned.classes, learned.profiles);
      learned.classes.clear();
      learned.profiles.clear();
      await store.estimates.save(rows, estimates.entries.size > maxEstimates / 2 ? oldestOf(estimates) : 0);
    },
  };
}

import { type Estimates, learn, maxEstimates, noEstimates, oldestOf, recall, rowsOf } from '../scheduling/estimates.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { FleetNode } from './fleet.ts';
import { classOf } from './pending-task.ts';

/** What completions teach of durations, kept in the store. */
export interface Learning {
  load(): Promise<void>;
  readonly estimates: Estimates;
  /** A task has ended. */
  study(task: TaskRecord): void;
  /** Writes all that was learned since the last time, in one transaction: what a crash takes is learned again. */
  keep(): Promise<void>;
}

export function makeLearning({
  store,
  fleet,
}: {
  readonly store: Pick<Store, 'estimates'>;
  readonly fleet: { get(node: string): FleetNode | undefined };
}): Learning {
  let estimates: Estimates = noEstimates;
  const learned = { classes: new Set<string>(), profiles: new Set<string>() };

  return {
    async load() {
      estimates = recall(await store.estimates.list());
    },
    get estimates() {
      return estimates;
    },
    study(task) {
      const { type, state, ranMs, node } = task;
      const birth = node === null ? undefined : fleet.get(node)?.birth;
      if (type !== 'batch' || state !== 'TASK_FINISHED' || ranMs === null || !birth) return;
      const name = classOf(task);
      estimates = learn(estimates, { class: name, profile: birth.profile, speed: 1, durationMs: ranMs });
      learned.classes.add(name);
      learned.profiles.add(birth.profile);
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

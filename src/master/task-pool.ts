import type { Job } from '../model/document.ts';
import { isTerminal } from '../model/task.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import type { RunningTask } from '../scheduling/plan.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { Jobs } from './jobs.ts';
import { toPending } from './pending-task.ts';

/** A task that has a node. */
export interface PlacedTask extends RunningTask {
  readonly node: string;
  /** Its place in the job, from 0. */
  readonly order: number;
  /** Names what it was made from. */
  readonly template: string;
  readonly ready: boolean;
  /** It belongs to its node, as those of system jobs do. */
  readonly isOfNode: boolean;
}

/**
 * The tasks that wait or run, as the scheduler wants them: read once, and then only what has changed. INVARIANT: after `refresh`
 * it is what a reading of all tasks would give.
 */
export interface TaskPool {
  load(tasks: readonly TaskRecord[]): Promise<void>;
  /** Reads what has changed since; nothing when nothing has. */
  refresh(): Promise<void>;
  pending(): PendingTask[];
  /** Tasks that have a node, by id. */
  readonly running: ReadonlyMap<string, PlacedTask>;
  /** How many tasks have been read. */
  readonly reads: number;
}

const idsPerQuery = 512;

export function makeTaskPool({
  store,
  jobs,
}: {
  readonly store: Pick<Store, 'tasks'>;
  readonly jobs: Pick<Jobs, 'get'>;
}): TaskPool {
  const waiting = new Map<string, PendingTask>();
  const running = new Map<string, PlacedTask>();
  let changed = new Set<string>();
  let reads = 0;
  store.tasks.watch(ids => {
    for (const id of ids) changed.add(id);
  });

  async function enter(tasks: readonly TaskRecord[]): Promise<void> {
    const jobOf = new Map<string, Job | undefined>();
    for (const task of tasks) {
      // frameworks place theirs themselves
      if (task.framework !== null) continue;
      const key = `${task.namespace}/${task.job}`;
      if (!jobOf.has(key)) jobOf.set(key, await jobs.get(task.namespace, task.job));
      const job = jobOf.get(key);
      waiting.delete(task.id);
      running.delete(task.id);
      if (job === undefined || isTerminal(task.state)) continue;
      if (task.node !== null) running.set(task.id, toRunning(task, task.node, job));
      else if (!task.stopping) waiting.set(task.id, toPending(task, job));
    }
  }

  return {
    load: tasks => enter(tasks),
    async refresh() {
      const ids = [...changed];
      changed = new Set();
      reads += ids.length;
      for (let i = 0; i < ids.length; i += idsPerQuery) {
        const some = ids.slice(i, i + idsPerQuery);
        const tasks = await store.tasks.list({ ids: some });
        const found = new Set(tasks.map(task => task.id));
        for (const id of some) if (!found.has(id)) for (const map of [waiting, running]) map.delete(id);
        await enter(tasks);
      }
    },
    pending: () => [...waiting.values()],
    running,
    get reads() {
      return reads;
    },
  };
}

function toRunning(task: TaskRecord, node: string, job: Job): PlacedTask {
  const { job: name, namespace, type, class: kind, priority, role, ...pending } = toPending(task, job);
  const { expectedMs, maxRunMs, apartFrom, artifacts, order } = pending;
  const { startedAt, stopping, ready, template } = task;
  const { rescheduleAfter: rescheduleAfterMs, killGrace: killGraceMs, preemptible } = job.spec;
  return {
    ...{ job: name, namespace, type, class: kind, priority, role, expectedMs, maxRunMs, apartFrom, artifacts, order },
    isOfNode: job.spec.type === 'system',
    ...{ node, template, startedAt, stopping, ready, rescheduleAfterMs, killGraceMs, preemptible },
  };
}

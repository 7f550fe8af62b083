import { MesoliteError } from '../base/errors.ts';
import type { Job } from '../model/document.ts';
import { taskTypeOf } from '../model/job.ts';
import { parseRunLabel } from '../model/run-label.ts';
import { findCycle } from '../model/start-order.ts';
import { isTerminal } from '../model/task.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { labelsWanted } from './expand-job.ts';
import type { Jobs } from './jobs.ts';

/** What tasks have to wait for before they may be placed. */
export interface StartOrder {
  /** Why each of these has to wait, if `wanted` are among the jobs; those that may start are not in it. */
  holdBack(pending: readonly PendingTask[], wanted?: readonly Job[]): Promise<ReadonlyMap<string, string>>;
}

export function makeStartOrder(parts: {
  readonly store: Pick<Store, 'tasks'>;
  readonly jobs: Pick<Jobs, 'get'>;
}): StartOrder {
  const { store, jobs } = parts;

  async function tasksOf(key: string): Promise<TaskRecord[]> {
    const [namespace = '', job = ''] = key.split('/');
    return (await store.tasks.list({ namespace, job, framework: null })).filter(task => !task.stopping);
  }

  return {
    async holdBack(pending, wanted = []) {
      const byKey = new Map(wanted.map(job => [`${job.metadata.namespace}/${job.metadata.name}`, job]));
      const held = new Map<string, string>();
      const whyOf = new Map<string, string | undefined>();
      const tasks = new Map<string, TaskRecord[]>();
      for (const { id, namespace, job, after = [], afterTasks = [] } of pending) {
        for (const key of after) {
          if (!whyOf.has(key)) {
            const [space = '', name = ''] = key.split('/');
            whyOf.set(key, whyNotYet(byKey.get(key) ?? (await jobs.get(space, name)), key, await tasksOf(key)));
          }
          const why = whyOf.get(key);
          if (why !== undefined && !held.has(id)) held.set(id, why);
        }
        if (afterTasks.length === 0 || held.has(id)) continue;
        const own = `${namespace}/${job}`;
        if (!tasks.has(own)) tasks.set(own, await tasksOf(own));
        const why = whyUnfinished(afterTasks, tasks.get(own) ?? []);
        if (why !== undefined) held.set(id, `waits for ${why}`);
      }
      return held;
    },
  };
}

/** Throws INVALID_INPUT for jobs that would wait for each other, with the way round. */
export function refuseCycles(jobs: readonly Job[]): void {
  const next = jobs.map(({ metadata: { namespace, name }, spec }): [string, string[]] => [
    `${namespace}/${name}`,
    (spec.after ?? []).map(other => `${namespace}/${other}`),
  ]);
  const cycle = findCycle(new Map(next));
  if (cycle === undefined) return;
  throw new MesoliteError('INVALID_INPUT', `spec.after: each job would wait for the other: ${cycle.join(' → ')}`);
}

/** A batch has to have finished, of whatever runs on one task has to be ready. */
function whyNotYet(job: Job | undefined, key: string, tasks: readonly TaskRecord[]): string | undefined {
  if (job === undefined) return `waits for job ${key}, which is not there`;
  if (taskTypeOf(job.spec) === 'service') {
    return tasks.some(task => task.ready && !isTerminal(task.state)) ? undefined : `waits for job ${key} to be ready`;
  }
  if (job.spec.type === 'batch') {
    const why = whyUnfinished(labelsWanted(job), tasks);
    return why && `waits for job ${key}: for ${why}`;
  }
  const newest = Math.max(...tasks.map(task => parseRunLabel(task.label)?.at ?? 0));
  const run = tasks.filter(task => parseRunLabel(task.label)?.at === newest);
  if (run.length === 0) return `waits for the first run of job ${key}`;
  const why = whyUnfinished(
    run.map(task => task.label),
    run,
  );
  return why && `waits for job ${key}: for ${why}`;
}

function whyUnfinished(labels: readonly string[], tasks: readonly TaskRecord[]): string | undefined {
  const newest = new Map(tasks.map(task => [task.label, task.state]));
  const open = labels.filter(label => newest.get(label) !== 'TASK_FINISHED');
  const [first] = open;
  if (first === undefined) return undefined;
  const state = newest.get(first);
  const failed = state !== undefined && isTerminal(state);
  const more = open.length > 1 ? ` and ${open.length - 1} more` : '';
  return `${first}${failed ? `, which came to ${state}` : ' to finish'}${more}`;
}

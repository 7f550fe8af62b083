import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Job } from '../model/document.ts';
import type { SealedSecret } from '../model/secret.ts';
import { heldBy, withoutSlots } from '../model/task-slots.ts';
import type { LedgerEvent } from '../scheduling/ledger.ts';
import type { PlannedLaunch } from '../scheduling/plan.ts';
import type { Placement } from '../store/assignments.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { maxIds } from '../store/tasks.ts';
import type { Jobs } from './jobs.ts';
import { makeTaskSpec } from './task-spec.ts';

/** Those of a task of the job, sealed for the node; undefined when that cannot be. */
export type SecretsOf = (job: Job, task: string, node: string) => Promise<SealedSecret[] | undefined>;

/** Writes what a plan launches, enters it into the ledger, and tells it: in this order. */
export function makePlacing(parts: {
  readonly store: Pick<Store, 'tasks' | 'assignments'>;
  readonly jobs: Pick<Jobs, 'get'>;
  readonly change: (events: readonly LedgerEvent[]) => void;
  /** What constraints see of a node. */
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  /** Absent: there are no secrets. */
  readonly secretsOf?: SecretsOf | undefined;
  /** The assignments of these nodes have changed. */
  readonly onPlaced: (nodes: readonly string[], placed: readonly PlannedLaunch[]) => void;
}): (launches: readonly PlannedLaunch[]) => Promise<void> {
  const { store, jobs, change, labelsOf, clock, log, newId, onPlaced } = parts;
  const { secretsOf = async () => [] } = parts;
  return async launches => {
    if (launches.length === 0) return;
    const tasks = new Map<string, TaskRecord>();
    for (let i = 0; i < launches.length; i += maxIds) {
      const ids = launches.slice(i, i + maxIds).map(({ task }) => task);
      for (const task of await store.tasks.list({ states: ['TASK_STAGING'], ids })) tasks.set(task.id, task);
    }
    const at = clock.now();
    const known = new Map<string, Job | undefined>();
    const jobOf = async ({ namespace, job }: TaskRecord): Promise<Job | undefined> => {
      const key = `${namespace}/${job}`;
      if (!known.has(key)) known.set(key, await jobs.get(namespace, job));
      return known.get(key);
    };
    const placements: Placement[] = [];
    for (const { task: id, node, resources, ports, expectedEndAt } of launches) {
      const task = tasks.get(id);
      const job = task && (await jobOf(task));
      // withdrawn since the round began
      if (task === undefined || job === undefined || task.node !== null || task.stopping) continue;
      const secrets = await secretsOf(job, id, node);
      if (secrets === undefined) continue;
      const made = makeTaskSpec(job, task, withoutSlots(resources), ports, { id: node, labels: labelsOf(node) });
      const spec = { ...made, ...(secrets.length > 0 && { secrets }) };
      const status = { uuid: newId(), task: id, state: 'TASK_STAGING', message: `placed on ${node}`, at } as const;
      placements.push({ task: id, node, spec, expectedEndAt, status });
    }
    if (placements.length === 0) return;
    const versions = await store.assignments.place(placements);
    // what was promised holds, even where its node has shrunk meanwhile; before the next wait, as a task may end by then
    change(
      placements.map(({ task, node, spec }) => ({
        type: 'TaskRecovered',
        task,
        node,
        resources: heldBy(spec),
        role: tasks.get(task)?.role,
      })),
    );
    log.info('tasks were placed', { tasks: placements.length, nodes: versions.length });
    const placed = new Set(placements.map(({ task }) => task));
    onPlaced(
      versions.map(version => version.node),
      launches.filter(({ task }) => placed.has(task)),
    );
  };
}

import type { Affinity, Constraint, PlacementStrategy, TaskType } from '../model/job.ts';
import type { Resources } from '../model/resources.ts';

/** A task that wants a place. */
export interface PendingTask {
  readonly id: string;
  readonly job: string;
  readonly namespace: string;
  readonly type: TaskType;
  /** What its duration is learned under, as `<namespace>/<job>`: tasks of one class do the same amount of work. */
  readonly class: string;
  /** Larger is sooner. */
  readonly priority: number;
  /** Scalars and sets; ports are asked for by number in `portCount` and chosen at placement. */
  readonly needs: Pick<Resources, 'scalars' | 'sets'>;
  readonly portCount: number;
  /** Ports of the node that it asks for by number. */
  readonly nodePorts?: readonly number[];
  readonly constraints: readonly Constraint[];
  /** Mesos' role that it counts for; the default one when it is left out. */
  readonly role?: string | undefined;
  readonly affinities?: readonly Affinity[] | undefined;
  /** An attribute of nodes over whose values `spread` spreads first. */
  readonly spreadOver?: string | undefined;
  readonly maxPerNode?: number | undefined;
  /** Keys of jobs (`jobKey`) that it never shares a node with, and that have to be on its node before it. */
  readonly apartFrom?: readonly string[] | undefined;
  readonly togetherWith?: readonly string[] | undefined;
  /** Keys of jobs, and tasks of its own by label, that come before it: it is no task for a scheduler until they have. */
  readonly after?: readonly string[] | undefined;
  readonly afterTasks?: readonly string[] | undefined;
  /** Where it has no place tasks of a lower priority are ended for it. */
  readonly preempts?: boolean | undefined;
  /** It is ended after so long, whatever is expected. */
  readonly maxRunMs?: number | undefined;
  /** Keys (`contentKeyOf`) of what has to be on its node before it starts. */
  readonly artifacts?: readonly string[] | undefined;
  readonly strategy: PlacementStrategy;
  /** What its job says it takes on a node of speed 1, where it says so. */
  readonly expectedMs?: number | undefined;
  /** Milliseconds since 1970 by the master's clock. */
  readonly submittedAt: number;
  /** Position among those submitted together. */
  readonly order: number;
  /** Names what it was made from. */
  readonly template?: string | undefined;
}

/** Where a job does not choose: a service survives the loss of a node best when spread, a batch wants to end soon. */
export const defaultStrategy: Readonly<Record<TaskType, PlacementStrategy>> = {
  service: 'spread',
  batch: 'completionTime',
};

/** The key of a job: spread counts instances by it. */
export function jobKey(task: Pick<PendingTask, 'namespace' | 'job'>): string {
  return `${task.namespace}/${task.job}`;
}

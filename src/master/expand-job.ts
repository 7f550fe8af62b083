import type { Sha256 } from '../model/audit-chain.ts';
import type { Job } from '../model/document.ts';
import { type Needs, taskTypeOf, unknownMemMb } from '../model/job.ts';
import { customResources, type Resources, toMilli } from '../model/resources.ts';
import { parseRunLabel } from '../model/run-label.ts';
import { taskOf } from './task-spec.ts';

/** A task that a job wants, before it has a place. */
export interface WantedTask {
  readonly id: string;
  /** The batch task's own name, or the instance's number. */
  readonly label: string;
  readonly priority: number;
  readonly template: string;
  /** Its place in the job, from 0. */
  readonly position: number;
}

/** What is known of a job's present tasks. */
export interface PresentTask {
  readonly id: string;
  readonly label: string;
  /** See `templateOf`. */
  readonly template: string;
  /** Neither ended nor about to be. */
  readonly live: boolean;
  /** It has a node. */
  readonly placed: boolean;
  /** Ended by itself, not because it was withdrawn. */
  readonly ran: boolean;
}

interface Tools {
  /** Of the secrets of its namespace: a task with another version is replaced. */
  readonly secretVersions?: ReadonlyMap<string, number>;
  readonly sha256: Sha256;
  readonly suffix: () => string;
}

export interface JobChange {
  readonly add: readonly WantedTask[];
  readonly stop: readonly string[];
}

/** What decides beside the job itself which tasks it is to have. */
export interface Wants {
  /** The nodes that a system job is to be on. */
  readonly nodes?: readonly string[];
  /** Labels of a periodic job's tasks that are due. */
  readonly due?: readonly string[];
  /** What has ended by itself stays so, even of a service. */
  readonly keepEnded?: boolean;
  /** Tasks of another version that have a node stay, and nobody takes their place: an update replaces them step by step. */
  readonly inSteps?: boolean;
}

/**
 * Compares what a job wants with the tasks that it has. A task of another template is replaced. A service is filled up to its
 * instances; a batch runs each of its tasks once, whatever came of it; of a periodic job what runs goes on as it began. `suffix` makes
 * a short unique word.
 */
export function expandJob(
  job: Job,
  present: readonly PresentTask[],
  { sha256, suffix, secretVersions }: Tools,
  wants: Wants = {},
): JobChange {
  const { type } = job.spec;
  const wanted = wantedTasks(job, wants).map(task => ({
    ...task,
    template: sha256(templateOf(job, task.label, secretVersions)),
  }));
  const templates = new Map(wanted.map(task => [task.label, task.template]));
  const isCurrent = (task: PresentTask) =>
    type === 'periodic' ? parseRunLabel(task.label) !== undefined : templates.get(task.label) === task.template;
  const isFinal = taskTypeOf(job.spec) === 'batch' || wants.keepEnded === true;
  const isSettled = (task: PresentTask) => task.live || (task.ran && isFinal);
  const settled = new Set(present.filter(task => isCurrent(task) && isSettled(task)).map(task => task.label));
  const old = present.filter(task => task.live && !isCurrent(task));
  const kept = new Set(wants.inSteps === true ? old.filter(task => task.placed).map(task => task.label) : []);
  return {
    add: wanted
      .filter(task => !settled.has(task.label) && !kept.has(task.label))
      .map(task => ({ ...task, id: `${job.metadata.name}.${job.metadata.namespace}.${task.label}-${suffix()}` })),
    stop: old.filter(task => !kept.has(task.label) || !templates.has(task.label)).map(task => task.id),
  };
}

/** Needs as an operator writes them, as resources; ports are chosen at placement. */
export function resourcesOf(needs: Needs): Resources {
  const { cpus, mem = unknownMemMb, disk } = needs;
  const scalars = { cpus: toMilli(cpus), mem: toMilli(mem), disk: toMilli(disk) };
  const custom = customResources(needs);
  return { scalars: { ...scalars, ...custom.scalars }, ranges: {}, sets: custom.sets };
}

/** What a task is made from, as a text to compare; how many there are, and the job's other tasks, are no part of it. */
export function templateOf(job: Job, label: string, versions?: Tools['secretVersions']): string {
  const {
    instances,
    tasks,
    priority,
    rescheduleAfter,
    periodic,
    after: __,
    preempts,
    preemptible,
    update,
    shutdownDelay,
    ...shared
  } = job.spec;
  const secretVersions = shared.secrets?.map(({ name }) => versions?.get(name) ?? 0);
  // whom it comes after makes no other task of it
  const { after: _, ...own } = taskOf(job, label);
  const resources = counted(shared.resources);
  return JSON.stringify({
    labels: job.metadata.labels,
    ...shared,
    resources,
    secretVersions,
    own: { ...own, needs: counted(own.needs) },
  });
}

/** With what is counted where nothing was said. */
function counted({ cpus, mem = unknownMemMb, disk, ...custom }: Needs): Needs {
  return { cpus, mem, disk, ...custom };
}

/** The tasks of a job, or of one run of it, as they are called in it. */
export function labelsWanted({ spec: { tasks, instances } }: Job): string[] {
  return tasks?.map(task => task.name) ?? Array.from({ length: instances }, (_, position) => String(position));
}

function wantedTasks(job: Job, { nodes = [], due = [] }: Wants): Omit<WantedTask, 'id' | 'template'>[] {
  const { tasks, priority, type } = job.spec;
  const labels = type === 'system' ? nodes : type === 'periodic' ? due : labelsWanted(job);
  const own = new Map(tasks?.map(task => [task.name, task.priority]));
  return labels.map((label, position) => {
    const name = parseRunLabel(label)?.name ?? label;
    return { label, priority: own.get(name) ?? priority, position };
  });
}

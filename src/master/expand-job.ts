import type { Sha256 } from '../model/audit-chain.ts';
import type { Job } from '../model/document.ts';
import { type Needs, unknownMemMb } from '../model/job.ts';
import { customResources, type Resources, toMilli } from '../model/resources.ts';
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

/**
 * Compares what a job wants with the tasks that it has. A task of another template is replaced. A service is filled up to its
 * instances; a batch runs each of its tasks once, whatever came of it. `suffix` makes a short unique word.
 */
export function expandJob(job: Job, present: readonly PresentTask[], tools: Tools): JobChange {
  const { sha256, suffix, secretVersions } = tools;
  const wanted = wantedTasks(job).map(task => ({
    ...task,
    template: sha256(templateOf(job, task.label, secretVersions)),
  }));
  const templates = new Map(wanted.map(task => [task.label, task.template]));
  const isCurrent = (task: PresentTask) => templates.get(task.label) === task.template;
  const isSettled = (task: PresentTask) => task.live || (task.ran && job.spec.type === 'batch');
  const settled = new Set(present.filter(task => isCurrent(task) && isSettled(task)).map(task => task.label));
  return {
    add: wanted
      .filter(task => !settled.has(task.label))
      .map(task => ({ ...task, id: `${job.metadata.name}.${job.metadata.namespace}.${task.label}-${suffix()}` })),
    stop: present.filter(task => task.live && !isCurrent(task)).map(task => task.id),
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
function templateOf(job: Job, label: string, versions: Tools['secretVersions']): string {
  const { instances, tasks, priority, rescheduleAfter, ...shared } = job.spec;
  const secretVersions = shared.secrets?.map(({ name }) => versions?.get(name) ?? 0);
  const own = taskOf(job, label);
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

function wantedTasks(job: Job): Omit<WantedTask, 'id' | 'template'>[] {
  const { tasks, instances, priority } = job.spec;
  if (tasks !== undefined) {
    return tasks.map((task, position) => ({ label: task.name, priority: task.priority ?? priority, position }));
  }
  return Array.from({ length: instances }, (_, position) => ({ label: String(position), priority, position }));
}

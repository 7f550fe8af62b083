import type { Job } from '../model/document.ts';
import type { Needs } from '../model/job.ts';
import { type Resources, toMilli } from '../model/resources.ts';

/** A task that a job wants, before it has a place. */
export interface WantedTask {
  readonly id: string;
  /** The batch task's own name, or the instance's number. */
  readonly label: string;
  readonly priority: number;
  /** Position in the job file; earlier is placed first among equals. */
  readonly order: number;
}

/** What is known of a job's present tasks. */
export interface PresentTask {
  readonly id: string;
  readonly label: string;
  /** The template that it was made from, see `templateOf`. */
  readonly template: string;
  readonly live: boolean;
}

export interface JobChange {
  readonly add: readonly WantedTask[];
  readonly stop: readonly string[];
}

/** What a task is made from, as a text to compare: tasks of another template are replaced. How many there are is no part of it. */
export function templateOf(job: Job): string {
  const { instances: _, ...template } = job.spec;
  return JSON.stringify({ labels: job.metadata.labels, ...template });
}

/**
 * Compares what a job wants with the tasks it has. A service is filled up to its instances; a batch runs each of its tasks
 * once, whatever came of it, and again only when its template changed. `suffix` makes a short unique word.
 */
export function expandJob(job: Job, present: readonly PresentTask[], suffix: () => string): JobChange {
  const template = templateOf(job);
  const current = present.filter(task => task.template === template);
  const outdated = present.filter(task => task.live && task.template !== template).map(task => task.id);
  const wanted = wantedLabels(job);
  const wantedNames = new Set(wanted.map(task => task.label));
  const settled = new Set(current.filter(task => task.live || job.spec.type === 'batch').map(task => task.label));
  const add = wanted
    .filter(task => !settled.has(task.label))
    .map(task => ({ ...task, id: `${job.metadata.name}.${job.metadata.namespace}.${task.label}-${suffix()}` }));
  const surplus = current.filter(task => task.live && !wantedNames.has(task.label)).map(task => task.id);
  return { add, stop: [...outdated, ...surplus] };
}

function wantedLabels(job: Job): Omit<WantedTask, 'id'>[] {
  const { tasks, instances, priority } = job.spec;
  if (tasks !== undefined) {
    return tasks.map((task, order) => ({ label: task.name, priority: task.priority ?? priority, order }));
  }
  return Array.from({ length: instances }, (_, order) => ({ label: String(order), priority, order }));
}

/** Needs as an operator writes them, as resources; ports are chosen at placement. */
export function resourcesOf(needs: Needs): Resources {
  return {
    scalars: { cpus: toMilli(needs.cpus), mem: toMilli(needs.mem), disk: toMilli(needs.disk) },
    ranges: {},
    sets: {},
  };
}

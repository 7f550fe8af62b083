import { Buffer } from 'node:buffer';
import { type Resources, toMilli } from './resources.ts';
import type { TaskSpec } from './task.ts';

/**
 * A node is told all of its tasks in one message of at most 4 MiB (`messageBounds.down`), and tells how each is in one of 256 KiB. So it has a
 * thousand slots of 4 KiB, which the scheduler counts like any resource: a task takes one, and a large one as many as it fills.
 */
export const taskSlots = 'task-slots';
export const maxTasksPerNode = 1000;
export const slotBytes = 4096;

/** What a node has, with its slots. */
export function withSlots({ scalars, ...others }: Resources): Resources {
  return { ...others, scalars: { ...scalars, [taskSlots]: toMilli(maxTasksPerNode) } };
}

export function withoutSlots({ scalars, ...others }: Resources): Resources {
  const { [taskSlots]: _, ...rest } = scalars;
  return { ...others, scalars: rest };
}

/** The slots of a task that is so large, in milli-units. */
export function slotsOfBytes(bytes: number): number {
  return toMilli(Math.max(1, Math.ceil(bytes / slotBytes)));
}

export function slotsOf(spec: TaskSpec): number {
  return slotsOfBytes(Buffer.byteLength(JSON.stringify(spec)));
}

/** What a task holds of its node: what it needs, and its slots. */
export function heldBy(spec: TaskSpec): Resources {
  const { resources } = spec;
  return { ...resources, scalars: { ...resources.scalars, [taskSlots]: slotsOf(spec) } };
}

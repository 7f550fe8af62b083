import type { Assignment } from '../model/message.ts';
import type { TaskSpec } from '../model/task.ts';
import { maxTasksPerNode } from '../model/task-slots.ts';

/** The tasks that the master wants on a node, and which word of the master said so. */
export interface DesiredSet {
  readonly epoch: number;
  readonly generation: number;
  readonly tasks: ReadonlyMap<string, TaskSpec>;
}

/** What an agent wants before any master spoke. */
export const nothingDesired: DesiredSet = { epoch: 0, generation: 0, tasks: new Map() };

export type Application =
  | { readonly result: 'taken'; readonly desired: DesiredSet }
  /** Older than what is held, or a step that is in already. */
  | { readonly result: 'ignored' }
  /** A step that does not stand on what is held: only a full set helps. */
  | { readonly result: 'gap' }
  | { readonly result: 'refused'; readonly reason: string };

/**
 * What an assignment makes of the desired set. An older (epoch, generation) is ignored; a full set of the same one is
 * taken, since that is how the master answers a node whose hash differs; a step counts only on its own base.
 */
export function applyAssignment(current: DesiredSet, incoming: Assignment): Application {
  const { epoch, generation, full } = incoming;
  if (isOlder(incoming, current)) return ignored;
  if (!full) {
    if (epoch !== current.epoch) return { result: 'gap' };
    if (generation === current.generation) return ignored;
    if (incoming.base !== current.generation) return { result: 'gap' };
  }
  const tasks = new Map(full ? [] : current.tasks);
  for (const id of incoming.remove) tasks.delete(id);
  for (const task of incoming.put) tasks.set(task.id, task);
  // a set that was larger may always become smaller
  if (tasks.size > Math.max(maxTasksPerNode, current.tasks.size)) {
    return { result: 'refused', reason: `${tasks.size} tasks, at most ${maxTasksPerNode} fit on a node` };
  }
  return { result: 'taken', desired: { epoch, generation, tasks } };
}

type Place = Pick<DesiredSet, 'epoch' | 'generation'>;

/** Is it an earlier word of the master than `held`? */
export function isOlder(incoming: Place, held: Place): boolean {
  return incoming.epoch < held.epoch || (incoming.epoch === held.epoch && incoming.generation < held.generation);
}

const ignored: Application = { result: 'ignored' };

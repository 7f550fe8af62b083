import * as v from 'valibot';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { type DesiredSet, nothingDesired } from '../lifecycle/assignment.ts';
import { encodeMessage } from '../model/message.ts';
import { taskSpecSchema } from '../model/task.ts';

/** What the master wants on this node, and the grace in milliseconds of each task that is to end. */
export interface Desired {
  readonly set: DesiredSet;
  readonly graces: ReadonlyMap<string, number>;
}

/** It on the disk: whole, or the one before. */
export interface DesiredTasks {
  /** Undefined, and said why, where what is there cannot be read, as of an agent that knew more: then nobody knows what is wanted. */
  load(): Promise<Desired | undefined>;
  /** Returns when it is durable. */
  store(desired: Desired): Promise<void>;
}

const fileName = 'desired-tasks';
const schema = v.object({
  epoch: v.number(),
  generation: v.number(),
  tasks: v.array(taskSpecSchema),
  ending: v.optional(v.record(v.string(), v.number()), {}),
});
const bounds = { maxBytes: 8 * 1024 * 1024, maxDepth: 24 };

export function makeDesiredTasks({ files, log }: { readonly files: Files; readonly log: Log }): DesiredTasks {
  return {
    async load() {
      try {
        const stored = await files.read(fileName);
        if (stored === undefined) return { set: nothingDesired, graces: new Map() };
        if (stored.recovered) log.warn('the newest assignment was damaged; the one before it holds');
        const { epoch, generation, tasks, ending } = decodeJson(schema, stored.value, fileName, bounds);
        const set = { epoch, generation, tasks: new Map(tasks.map(task => [task.id, task])) };
        return { set, graces: new Map(Object.entries(ending)) };
      } catch (error) {
        log.error(
          'which tasks are wanted cannot be read: those that run go on, and no other begins, until the master says it again',
          {
            reason: messageOf(error),
          },
        );
        return undefined;
      }
    },
    store: ({ set, graces }) =>
      files.write(
        fileName,
        encodeMessage({ ...set, tasks: [...set.tasks.values()], ending: Object.fromEntries(graces) }),
      ),
  };
}

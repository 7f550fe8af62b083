import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { sha256Hex } from '../identity/keys.ts';
import { encodeMessage } from '../model/message.ts';
import { type TaskStatus, taskStatusSchema } from '../model/task.ts';

/**
 * How tasks ended, on the disk for as long as the master wants them here: an agent that starts again says it again, and does not run again
 * what has ended.
 */
export interface TaskEndings {
  /** The end of each of `wanted` that has one; what is there of other tasks is removed. */
  load(wanted: ReadonlySet<string>): Promise<ReadonlyMap<string, TaskStatus>>;
  /** Returns when it is durable. */
  write(status: TaskStatus): Promise<void>;
  remove(task: string): Promise<void>;
}

const prefix = 'ended-';

export function makeTaskEndings(parts: {
  readonly files: Files;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly log: Log;
}): TaskEndings {
  const { files, clock, newId, log } = parts;

  async function read(task: string): Promise<TaskStatus | undefined> {
    try {
      const stored = await files.read(fileOf(task));
      return stored && decodeJson(taskStatusSchema, stored.value, 'end of a task');
    } catch (error) {
      log.error('how a task ended cannot be read', { task, reason: messageOf(error) });
      const message = 'it has ended, and how is no longer known';
      return { uuid: newId(), task, state: 'TASK_LOST', message, at: clock.now() };
    }
  }

  return {
    async load(wanted) {
      const endings = new Map<string, TaskStatus>();
      const tasks = new Map([...wanted].map(task => [fileOf(task), task]));
      for (const name of await files.list()) {
        if (!name.startsWith(prefix)) continue;
        const task = tasks.get(name);
        const status = task === undefined ? undefined : await read(task);
        if (status === undefined) await files.remove(name);
        else endings.set(status.task, status);
      }
      return endings;
    },
    write: status => files.write(fileOf(status.task), encodeMessage(status)),
    remove: task => files.remove(fileOf(task)),
  };
}

/** A task's id is longer than a file name may be. */
function fileOf(task: string): string {
  return `${prefix}${sha256Hex(task).slice(0, 32)}`;
}

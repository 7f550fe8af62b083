import { type Clock, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import { maxIds } from '../store/tasks.ts';

export const feedBounds = { watchers: 64 } as const;
const everyMs = secondMs;
/** A watcher that is told nothing for so long is told just that, so that a dead one is found out. */
const idleMs = 15 * secondMs;

/** Hears at first of all tasks (undefined), then of those that have changed, or of none; one call at a time. */
export type TaskWatcher = (tasks: readonly string[] | undefined) => Promise<void>;

/** Gathers changes of tasks for those who watch, at most once a second; does nothing while nobody does. */
export interface TaskFeed {
  readonly note: (tasks: readonly string[]) => void;
  /** Until `signal` aborts. Throws QUEUE_FULL when too many watch. */
  watch(watcher: TaskWatcher, signal: AbortSignal): void;
}

interface Watching {
  readonly watcher: TaskWatcher;
  readonly changed: Set<string>;
  isBusy: boolean;
  quietMs: number;
}

export function makeTaskFeed({ clock, log }: { readonly clock: Clock; readonly log: Log }): TaskFeed {
  const all = new Set<Watching>();
  let cancel = () => {};

  function tell(one: Watching, tasks: readonly string[] | undefined): void {
    one.isBusy = true;
    one.quietMs = 0;
    one
      .watcher(tasks)
      .catch(error => log.warn('who watches tasks could not be told', { reason: messageOf(error) }))
      .finally(() => {
        one.isBusy = false;
      });
  }

  function tick(): void {
    for (const one of all) {
      one.quietMs += everyMs;
      if (one.isBusy || (one.changed.size === 0 && one.quietMs < idleMs)) continue;
      const tasks = [...one.changed].slice(0, maxIds);
      for (const task of tasks) one.changed.delete(task);
      tell(one, tasks);
    }
    cancel = clock.after(everyMs, tick);
  }

  return {
    note(tasks) {
      for (const { changed } of all) for (const task of tasks) changed.add(task);
    },
    watch(watcher, signal) {
      if (all.size >= feedBounds.watchers) {
        throw new MesoliteError('QUEUE_FULL', `${all.size} others watch tasks already, which is the most`);
      }
      const one = { watcher, changed: new Set<string>(), isBusy: false, quietMs: 0 };
      if (all.size === 0) cancel = clock.after(everyMs, tick);
      all.add(one);
      onAbort(signal, () => {
        if (all.delete(one) && all.size === 0) cancel();
      });
      tell(one, undefined);
    },
  };
}

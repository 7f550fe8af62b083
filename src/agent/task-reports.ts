import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { TaskStatus } from '../model/task.ts';
import type { Sender } from './sender.ts';

export const reportBounds = {
  /** Statuses that wait for the master's word; the oldest is dropped when one more comes. */
  pending: 10_000,
  /** So few that they fit into one message however long each is. */
  perMessage: 25,
  repeatEveryMs: 10_000,
} as const;

/** Statuses wait here, in order, until the master says that it has committed them; a broker's word is not enough. */
export interface TaskReports {
  report(status: TaskStatus): void;
  acknowledge(uuids: readonly string[]): void;
  /** Says all again that is not acknowledged: after a reconnect, and every now and then. */
  repeat(): void;
  run(signal: AbortSignal): Promise<void>;
  readonly waiting: number;
}

export function makeTaskReports(parts: {
  readonly sender: Sender;
  readonly clock: Clock;
  readonly log: Log;
  readonly isUp: () => boolean;
}): TaskReports {
  const { sender, clock, log, isUp } = parts;
  const pending = new Map<string, TaskStatus>();

  function repeat(): void {
    // what would only wait for the link waits here, once
    if (!isUp()) return;
    const all = [...pending.values()];
    for (let i = 0; i < all.length; i += reportBounds.perMessage) {
      sender.send('task', { statuses: all.slice(i, i + reportBounds.perMessage) });
    }
  }

  return {
    report(status) {
      if (pending.size >= reportBounds.pending) {
        const [oldest] = pending.keys();
        if (oldest !== undefined) pending.delete(oldest);
        log.warn('the queue of task statuses is full; the oldest was dropped', { bound: reportBounds.pending });
      }
      pending.set(status.uuid, status);
      if (isUp()) sender.send('task', { statuses: [status] });
    },
    acknowledge(uuids) {
      for (const uuid of uuids) pending.delete(uuid);
    },
    repeat,
    async run(signal) {
      while (await clock.sleep(reportBounds.repeatEveryMs, signal)) repeat();
    },
    get waiting() {
      return pending.size;
    },
  };
}

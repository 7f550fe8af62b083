import { Buffer } from 'node:buffer';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { TaskStatus } from '../model/task.ts';
import type { Sender } from './sender.ts';

export const reportBounds = {
  /** Statuses that wait for the master's word; the oldest is dropped when one more comes. */
  pending: 10_000,
  /** So few that they fit into one message however long each is. */
  perMessage: 25,
  /** Said and not acknowledged: no more than the master remembers of one task, so that it knows each of them when it is said again. */
  underWay: 200,
  repeatEveryMs: 10_000,
  /** Of those in a birth, which is one message whatever a node has. */
  birthBytes: 192 * 1024,
} as const;

/** Statuses wait here, in order, until the master says that it has committed them; a broker's word is not enough. */
export interface TaskReports {
  report(status: TaskStatus): void;
  acknowledge(uuids: readonly string[]): void;
  /** Says all again that was sent and is not acknowledged: after a reconnect, and every now and then. */
  repeat(): void;
  run(signal: AbortSignal): Promise<void>;
  readonly waiting: number;
  /** Of each task of which something was not yet said: the first of it, to be told before what came after it. */
  unsaid(): ReadonlyMap<string, TaskStatus>;
}

export function makeTaskReports(parts: {
  readonly sender: Sender;
  readonly clock: Clock;
  readonly log: Log;
  readonly isUp: () => boolean;
  /** Nothing that was said waits to be sent. */
  readonly isSent: () => boolean;
}): TaskReports {
  const { sender, clock, log, isUp, isSent } = parts;
  // all that is under way is older than all that waits
  const underWay = new Map<string, TaskStatus>();
  const waiting = new Map<string, TaskStatus>();
  /** Dropped before the oldest that is left, and not told yet; `toldWith` is the status that it was told with. */
  let lost = 0;
  let toldWith: { readonly uuid: string; readonly lost: number } | undefined;

  function say(statuses: readonly TaskStatus[], isOldest: boolean): void {
    for (let i = 0; i < statuses.length; i += reportBounds.perMessage) {
      const some = statuses.slice(i, i + reportBounds.perMessage);
      const [first] = some;
      const tells = isOldest && i === 0 && lost > 0 && first !== undefined;
      if (tells) toldWith = { uuid: first.uuid, lost };
      sender.send('task', { statuses: some, ...(tells && { lost }) });
    }
  }

  /** Says what waits, as far as there is room on the way. */
  function sayOn(): void {
    // what would only wait for the link waits here, once
    if (!isUp()) return;
    const next: TaskStatus[] = [];
    const isOldest = underWay.size === 0;
    for (const [uuid, status] of waiting) {
      if (underWay.size >= reportBounds.underWay) break;
      waiting.delete(uuid);
      underWay.set(uuid, status);
      next.push(status);
    }
    say(next, isOldest);
  }

  function repeat(): void {
    // what waits to be sent is not lost
    if (isUp() && isSent()) say([...underWay.values()], true);
    sayOn();
  }

  function dropOldest(): void {
    const from = underWay.size > 0 ? underWay : waiting;
    const [oldest] = from.keys();
    if (oldest === undefined) return;
    from.delete(oldest);
    if (lost++ === 0) {
      log.warn('the queue of task statuses is full; from now on the oldest are dropped', {
        bound: reportBounds.pending,
      });
    }
  }

  return {
    report(status) {
      if (underWay.size + waiting.size >= reportBounds.pending) dropOldest();
      waiting.set(status.uuid, status);
      sayOn();
    },
    acknowledge(uuids) {
      for (const uuid of uuids) {
        underWay.delete(uuid);
        if (uuid !== toldWith?.uuid) continue;
        lost -= toldWith.lost;
        toldWith = undefined;
      }
      sayOn();
    },
    repeat,
    async run(signal) {
      while (await clock.sleep(reportBounds.repeatEveryMs, signal, 'loop')) repeat();
    },
    get waiting() {
      return underWay.size + waiting.size;
    },
    unsaid() {
      const first = new Map<string, TaskStatus>();
      for (const status of waiting.values()) if (!first.has(status.task)) first.set(status.task, status);
      return first;
    },
  };
}

/** As much of the statuses as fits into a birth: without their words where there are too many, and then those that still fit. */
export function fitIntoBirth(statuses: readonly TaskStatus[]): TaskStatus[] {
  let left: number = reportBounds.birthBytes;
  const sizeOf = (status: TaskStatus) => Buffer.byteLength(JSON.stringify(status)) + 1;
  const isLarge = statuses.reduce((sum, status) => sum + sizeOf(status), 0) > left;
  const said = isLarge ? statuses.map(({ message: _, progress: __, ...status }) => status) : statuses;
  return said.filter(status => {
    left -= sizeOf(status);
    return left >= 0;
  });
}

import { type Clock, hourMs, minuteMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { EventKind, FleetEvent } from '../model/event.ts';
import type { EventFilter, EventRecord, Events as StoredEvents } from '../store/events.ts';

export const eventBounds = {
  keep: 10_000,
  mergeWithinMs: hourMs,
  /** A node that refuses everything, each time in other words, does not push out what others said. */
  differing: 30,
  /** What is told over and over is written so often at most. */
  writeEveryMs: minuteMs,
  messageChars: 512,
  /** Those whose repetitions are counted in memory; thrice as many writes may wait for the disk, and more are only logged. */
  waiting: 1_000,
} as const;

/** What operators are to know of: each is a row for `mesolite get events` and a line of the log. */
export interface Events {
  /** Never fails and need not be waited for: an event that cannot be written is logged all the same. */
  record(kind: EventKind, event: { readonly node?: string; readonly message: string }): void;
  /** Knows all that was recorded before; the newest that fit, oldest first. */
  query(filter: EventFilter): Promise<FleetEvent[]>;
}

interface Repeated {
  readonly kind: EventKind;
  readonly node: string | null;
  readonly message: string;
  at: number;
  writtenAt: number;
  /** Happened since, and is not written. */
  unwritten: number;
}

export function makeEvents(parts: { readonly events: StoredEvents; readonly clock: Clock; readonly log: Log }): Events {
  const { events, clock, log } = parts;
  const gate = new Gate(3 * eventBounds.waiting);
  /** By kind, node and message; the one that was written longest ago first. */
  const repeated = new Map<string, Repeated>();

  async function write(event: EventRecord): Promise<void> {
    const { severity, count } = await events.record(event, eventBounds);
    const fields = { event: event.kind, node: event.node, message: event.message, count };
    if (severity === 'critical') log.error('an event of the fleet', fields);
    else if (severity === 'warning') log.warn('an event of the fleet', fields);
    else log.info('an event of the fleet', fields);
  }

  /** Hands over what is not written yet of `entry`. */
  function flush(entry: Repeated): void {
    const { kind, node, message, at, unwritten: count } = entry;
    entry.unwritten = 0;
    entry.writtenAt = clock.monotonic();
    gate
      .run(() => write({ kind, node, message, at, count }))
      .catch(error => {
        log.error('an event could not be written', { event: kind, node, message, reason: messageOf(error) });
      });
  }

  /** Puts `entry` behind all others, and forgets the first of too many. */
  function enter(key: string, entry: Repeated): void {
    repeated.delete(key);
    repeated.set(key, entry);
    const [first] = repeated;
    if (repeated.size <= eventBounds.waiting || first === undefined) return;
    repeated.delete(first[0]);
    if (first[1].unwritten > 0) flush(first[1]);
  }

  return {
    record(kind, { node = null, message: text }) {
      const message = text.slice(0, eventBounds.messageChars);
      const key = JSON.stringify([kind, node, message]);
      const known = repeated.get(key);
      const entry = known ?? { kind, node, message, at: 0, writtenAt: Number.NEGATIVE_INFINITY, unwritten: 0 };
      entry.at = clock.now();
      entry.unwritten++;
      if (clock.monotonic() - entry.writtenAt < eventBounds.writeEveryMs) return;
      enter(key, entry);
      flush(entry);
    },
    query(filter) {
      for (const entry of repeated.values()) if (entry.unwritten > 0) flush(entry);
      return gate.run(() => events.query(filter));
    },
  };
}

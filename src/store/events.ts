import type { Kysely, Transaction } from 'kysely';
import { MesoliteError } from '../base/errors.ts';
import { type EventKind, eventKinds, eventSeverities, type FleetEvent } from '../model/event.ts';
import { raiseCounter } from './meta.ts';
import type { EventTable, Schema } from './schema.ts';

export interface EventRecord {
  readonly at: number;
  readonly kind: EventKind;
  readonly node: string | null;
  readonly message: string;
  /** How often it happened since it was last recorded. */
  readonly count: number;
}

export interface EventBounds {
  /** What is equal to one that is younger than this is counted there. */
  readonly mergeWithinMs: number;
  /** So many different messages of one kind and node in that time; after them the newest of them counts the rest. */
  readonly differing: number;
  /** The oldest beyond so many are forgotten. */
  readonly keep: number;
}

export interface EventFilter {
  readonly since?: number | undefined;
  readonly node?: string | undefined;
  readonly kind?: EventKind | undefined;
  readonly limit: number;
}

/** What operators are to know of, oldest forgotten first. */
export interface Events {
  record(event: EventRecord, bounds: EventBounds): Promise<FleetEvent>;
  /** The newest `limit` that fit, oldest first. */
  query(filter: EventFilter): Promise<FleetEvent[]>;
}

const counter = 'events';

export function makeEvents(db: Kysely<Schema>): Events {
  return {
    record: (event, bounds) => db.transaction().execute(tx => record(tx, event, bounds)),
    async query({ since = 0, node, kind, limit }) {
      let events = db.selectFrom('events').selectAll().where('at', '>=', since);
      if (node !== undefined) events = events.where('node', '=', node);
      if (kind !== undefined) events = events.where('kind', '=', kind);
      const newest = await events.orderBy('at', 'desc').orderBy('id', 'desc').limit(limit).execute();
      return newest.reverse().map(toEvent);
    },
  };
}

async function record(tx: Transaction<Schema>, event: EventRecord, bounds: EventBounds): Promise<FleetEvent> {
  const { at, kind, node, message } = event;
  const recent = await tx
    .selectFrom('events')
    .selectAll()
    .where('kind', '=', kind)
    .where('node', node === null ? 'is' : '=', node)
    .where('at', '>', at - bounds.mergeWithinMs)
    .orderBy('id', 'desc')
    .limit(bounds.differing)
    .execute();
  const same =
    recent.find(row => row.message === message) ?? (recent.length < bounds.differing ? undefined : recent[0]);
  if (same !== undefined) {
    const counted = { ...same, at, count: same.count + event.count };
    await tx.updateTable('events').set({ at, count: counted.count }).where('id', '=', same.id).execute();
    return toEvent(counted);
  }
  const row = { id: await raiseCounter(tx, counter), ...event };
  await tx.insertInto('events').values(row).execute();
  await tx
    .deleteFrom('events')
    .where('id', '<=', row.id - bounds.keep)
    .execute();
  return toEvent(row);
}

function toEvent({ kind, ...row }: EventTable): FleetEvent {
  const known = eventKinds.find(word => word === kind);
  if (known === undefined) throw new MesoliteError('INVALID_INPUT', `stored event ${row.id}: kind: got ${kind}`);
  return { ...row, kind: known, severity: eventSeverities[known] };
}

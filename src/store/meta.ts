import { type Kysely, sql } from 'kysely';
import type { Schema } from './schema.ts';

/** Facts and counters of the control plane itself. */
export interface Meta {
  get(name: string): Promise<string | undefined>;
  set(name: string, value: string): Promise<void>;
  /** A new fencing epoch: larger than any before and at least `atLeast`, once per start of a master. */
  nextEpoch(atLeast?: number): Promise<number>;
  /** The epoch of the newest start; 0 before the first. */
  epoch(): Promise<number>;
  /** The next number of the counter `name`, from 1. */
  nextRevision(name: string): Promise<number>;
}

const epochCounter = 'epoch';

export function makeMeta(db: Kysely<Schema>): Meta {
  return {
    async get(name) {
      const row = await db.selectFrom('meta').select('value').where('name', '=', name).executeTakeFirst();
      return row?.value;
    },
    async set(name, value) {
      await db
        .insertInto('meta')
        .values({ name, value })
        .onConflict(on => on.column('name').doUpdateSet({ value }))
        .execute();
    },
    nextEpoch: (atLeast = 0) => raiseEpoch(db, atLeast),
    epoch: () => readCounter(db, epochCounter),
    nextRevision: name => raiseCounter(db, `revision/${name}`),
  };
}

/** As `Meta.nextEpoch`, for who has more to write in the same transaction. */
export async function raiseEpoch(db: Kysely<Schema>, atLeast: number): Promise<number> {
  return raiseCounter(db, epochCounter, Math.max(1, atLeast - (await currentEpoch(db))));
}

/** Adds `by` to a counter in one statement and returns its new value. */
export async function raiseCounter(db: Kysely<Schema>, name: string, by = 1): Promise<number> {
  const row = await db
    .insertInto('counters')
    .values({ name, value: by })
    .onConflict(on => on.column('name').doUpdateSet({ value: sql<number>`counters.value + ${by}` }))
    .returning('value')
    .executeTakeFirstOrThrow();
  return row.value;
}

export async function readCounter(db: Kysely<Schema>, name: string): Promise<number> {
  const row = await db.selectFrom('counters').select('value').where('name', '=', name).executeTakeFirst();
  return row?.value ?? 0;
}

/** The fencing epoch in force, for what is written under it. */
export function currentEpoch(db: Kysely<Schema>): Promise<number> {
  return readCounter(db, epochCounter);
}

import type { Kysely } from 'kysely';
import type { EstimateTable, Schema } from './schema.ts';

/** What was learned of durations. */
export interface Estimates {
  list(): Promise<EstimateTable[]>;
  /** Writes these in place of what is there of the same profile and class, and forgets what was learned before `since`. */
  save(rows: readonly EstimateTable[], since: number): Promise<void>;
}

export function makeEstimates(db: Kysely<Schema>): Estimates {
  return {
    list: () => db.selectFrom('estimates').selectAll().orderBy('learnedAt').execute(),
    save: (rows, since) =>
      db.transaction().execute(async tx => {
        for (const row of rows) {
          await tx
            .insertInto('estimates')
            .values(row)
            .onConflict(on => on.columns(['profile', 'class']).doUpdateSet(row))
            .execute();
        }
        if (since > 0) await tx.deleteFrom('estimates').where('learnedAt', '<', since).execute();
      }),
  };
}

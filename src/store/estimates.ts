import type { Kysely } from 'kysely';
import type { EstimateTable, Schema } from './schema.ts';

/** What was learned of durations. */
export interface Estimates {
  list(): Promise<EstimateTable[]>;
  /** Writes these in place of what is there of the same profile and class, and forgets `gone`. */
  save(rows: readonly EstimateTable[], gone: readonly Pick<EstimateTable, 'profile' | 'class'>[]): Promise<void>;
}

export function makeEstimates(db: Kysely<Schema>): Estimates {
  return {
    list: () => db.selectFrom('estimates').selectAll().orderBy('learnedAt').execute(),
    save: (rows, gone) =>
      db.transaction().execute(async tx => {
        for (const row of rows) {
          await tx
            .insertInto('estimates')
            .values(row)
            .onConflict(on => on.columns(['profile', 'class']).doUpdateSet(row))
            .execute();
        }
        for (const { profile, class: name } of gone) {
          await tx.deleteFrom('estimates').where('profile', '=', profile).where('class', '=', name).execute();
        }
      }),
  };
}

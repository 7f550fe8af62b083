import type { Kysely } from 'kysely';
import type { JobUpdateTable, Schema } from './schema.ts';

/** The newest update of each job that had one. */
export interface JobUpdates {
  list(): Promise<JobUpdateTable[]>;
  /** In place of what is there of the job. */
  save(row: JobUpdateTable): Promise<void>;
  remove(job: { readonly namespace: string; readonly name: string }): Promise<void>;
}

export function makeJobUpdates(db: Kysely<Schema>): JobUpdates {
  return {
    list: () => db.selectFrom('jobUpdates').selectAll().orderBy('startedAt').execute(),
    async save(row) {
      await db
        .insertInto('jobUpdates')
        .values(row)
        .onConflict(on => on.columns(['namespace', 'name']).doUpdateSet(row))
        .execute();
    },
    async remove({ namespace, name }) {
      await db.deleteFrom('jobUpdates').where('namespace', '=', namespace).where('name', '=', name).execute();
    },
  };
}

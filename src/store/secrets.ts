import type { Kysely } from 'kysely';
import type { Schema, SecretTable } from './schema.ts';

/** Values as the master has encrypted them; the store cannot read them. */
export interface Secrets {
  list(): Promise<SecretTable[]>;
  get(namespace: string, name: string): Promise<SecretTable | undefined>;
  /** In the place of the one before, if there was one. */
  put(secret: SecretTable): Promise<void>;
  /** False when there was none. */
  remove(namespace: string, name: string): Promise<boolean>;
  /** Of those of a namespace, by name. */
  versions(namespace: string): Promise<ReadonlyMap<string, number>>;
}

export function makeSecrets(db: Kysely<Schema>): Secrets {
  return {
    list: () => db.selectFrom('secrets').selectAll().orderBy('namespace').orderBy('name').execute(),
    get: (namespace, name) =>
      db
        .selectFrom('secrets')
        .selectAll()
        .where('namespace', '=', namespace)
        .where('name', '=', name)
        .executeTakeFirst(),
    async put(secret) {
      await db
        .insertInto('secrets')
        .values(secret)
        .onConflict(conflict => conflict.columns(['namespace', 'name']).doUpdateSet(secret))
        .execute();
    },
    async remove(namespace, name) {
      const { numDeletedRows } = await db
        .deleteFrom('secrets')
        .where('namespace', '=', namespace)
        .where('name', '=', name)
        .executeTakeFirst();
      return numDeletedRows > 0n;
    },
    async versions(namespace) {
      const rows = await db
        .selectFrom('secrets')
        .select(['name', 'version'])
        .where('namespace', '=', namespace)
        .execute();
      return new Map(rows.map(({ name, version }) => [name, version]));
    },
  };
}

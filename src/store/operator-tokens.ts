import type { Kysely } from 'kysely';
import * as v from 'valibot';
import { decode } from '../base/shape.ts';
import type { Schema } from './schema.ts';

const operatorTokenSchema = v.object({
  name: v.string(),
  /** Of the secret; the secret itself is never stored. */
  hash: v.string(),
  role: v.picklist(['admin', 'reader']),
  createdAt: v.number(),
});

export type OperatorToken = Readonly<v.InferOutput<typeof operatorTokenSchema>>;

/** Who may use the API. */
export interface OperatorTokens {
  /** Throws CONFLICT when the name is taken. */
  add(token: OperatorToken): Promise<void>;
  list(): Promise<OperatorToken[]>;
  findByHash(hash: string): Promise<OperatorToken | undefined>;
  /** False when there was none. */
  remove(name: string): Promise<boolean>;
}

export function makeOperatorTokens(db: Kysely<Schema>): OperatorTokens {
  const read = (row: unknown) => decode(operatorTokenSchema, row, 'stored operator token');
  return {
    async add(token) {
      await db.insertInto('operatorTokens').values(token).execute();
    },
    async list() {
      const rows = await db.selectFrom('operatorTokens').selectAll().orderBy('name').execute();
      return rows.map(read);
    },
    async findByHash(hash) {
      const row = await db.selectFrom('operatorTokens').selectAll().where('hash', '=', hash).executeTakeFirst();
      return row && read(row);
    },
    async remove(name) {
      const { numDeletedRows } = await db.deleteFrom('operatorTokens').where('name', '=', name).executeTakeFirst();
      return numDeletedRows > 0n;
    },
  };
}

import type { Kysely } from 'kysely';
import * as v from 'valibot';
import { decode } from '../base/shape.ts';
import type { OperatorTokenTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

const operatorTokenSchema = v.object({
  name: v.string(),
  /** Of the secret; the secret itself is never stored. */
  hash: v.string(),
  /** A `framework` may use Mesos' scheduler API and nothing else. */
  role: v.picklist(['admin', 'reader', 'framework']),
  createdAt: v.number(),
});
const rolesSchema = v.array(v.string());

export interface OperatorToken extends Readonly<v.InferOutput<typeof operatorTokenSchema>> {
  /** Of a framework: the Mesos roles that it may have; all when absent. */
  readonly roles?: readonly string[] | undefined;
}

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
  const read = ({ rolesJson, ...row }: OperatorTokenTable): OperatorToken => ({
    ...decode(operatorTokenSchema, row, 'stored operator token'),
    ...(rolesJson !== null && { roles: readJson(rolesSchema, rolesJson, `roles of ${row.name}`) }),
  });
  return {
    async add({ roles, ...token }) {
      const rolesJson = roles === undefined ? null : JSON.stringify(roles);
      await db
        .insertInto('operatorTokens')
        .values({ ...token, rolesJson })
        .execute();
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

import type { SqliteStatement } from 'kysely';

/** Texts of statements that are kept ready; the one that was not used for longest goes. The store has about a hundred. */
const keptStatements = 256;

/**
 * Prepares each text once. A statement of libsql holds some 20 kB that V8 does not see, until it is collected, which under load
 * is late. Statements here run to their end at once, so that one can serve all callers.
 */
export function preparedOnce(prepare: (sql: string) => SqliteStatement): (sql: string) => SqliteStatement {
  const kept = new Map<string, SqliteStatement>();
  return sql => {
    const statement = kept.get(sql) ?? prepare(sql);
    kept.delete(sql);
    kept.set(sql, statement);
    const [oldest] = kept.keys();
    if (kept.size > keptStatements && oldest !== undefined) kept.delete(oldest);
    return statement;
  };
}

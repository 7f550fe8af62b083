import { chmodSync, closeSync, openSync } from 'node:fs';
import { CamelCasePlugin, Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely';
import Libsql from 'libsql';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { migrate } from './migrations.ts';
import type { Schema } from './schema.ts';
import { preparedOnce } from './statements.ts';

/** How long an open waits for another process to let go of the file: a master that is just ending. */
const busyTimeoutMs = 1_000;

/**
 * Opens the SQLite file at `path` (made with mode 0600 if it is not there) and brings its schema up to date. One process
 * at a time has it; a commit is on the disk before it returns. Throws START_FAILED with what to do.
 */
export async function openSqlite(path: string): Promise<Kysely<Schema>> {
  const raw = connect(path);
  const db = new Kysely<Schema>({
    dialect: new SqliteDialect({ database: translating(raw, path) }),
    plugins: [new CamelCasePlugin()],
  });
  try {
    await migrate(db);
  } catch (error) {
    release(raw);
    throw isMesoliteError(error, 'START_FAILED') ? error : startError(path, error);
  }
  return db;
}

function connect(path: string): Libsql.Database {
  let raw: Libsql.Database | undefined;
  try {
    closeSync(openSync(path, 'a', 0o600));
    chmodSync(path, 0o600);
    raw = new Libsql(path, { timeout: busyTimeoutMs });
    // exclusive: a second master on the same data would answer the same nodes
    for (const pragma of [
      'locking_mode = exclusive',
      'journal_mode = wal',
      'synchronous = full',
      'foreign_keys = on',
    ]) {
      raw.pragma(pragma);
    }
    const check = JSON.stringify(raw.pragma('quick_check(1)'));
    if (check !== '[{"quick_check":"ok"}]') throw new MesoliteError('START_FAILED', check);
    return raw;
  } catch (error) {
    raw?.close();
    throw startError(path, error);
  }
}

function startError(path: string, error: unknown): MesoliteError {
  const code = codeOf(error);
  const why =
    code === 'SQLITE_BUSY'
      ? 'another process has it open: is a master running on this directory already?'
      : code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT') || isMesoliteError(error)
        ? `the file is damaged (${messageOf(error)}): restore a copy, or move it away to start anew`
        : messageOf(error);
  return new MesoliteError('START_FAILED', `cannot open the database ${path}: ${why}`, { cause: error });
}

/**
 * Leaves one whole file behind that the next process can open at once. A connection of libsql lives on until its statements are
 * collected, and would keep its lock until then: so the lock is given back first, which WAL mode does not do.
 */
function release(raw: Libsql.Database): void {
  try {
    for (const pragma of ['journal_mode = delete', 'locking_mode = normal', 'user_version']) raw.pragma(pragma);
  } catch {
    // the disk is full or the file is gone: what was committed is in the log, and the next open finds it there
  } finally {
    raw.close();
  }
}

/** Lets no error of SQLite out: a full disk is told apart from a row that is there already. */
function translating(raw: Libsql.Database, path: string): SqliteDatabase {
  const guard = <T>(run: () => T): T => {
    try {
      return run();
    } catch (error) {
      throw queryError(path, error);
    }
  };
  const prepare = (sql: string): SqliteStatement => {
    const statement = guard(() => raw.prepare(sql));
    return {
      reader: statement.reader,
      all: parameters => guard(() => statement.all(...parameters)),
      run: parameters => guard(() => statement.run(...parameters)),
      // left half read, it would be in the way of the next caller: so a statement of its own
      iterate: parameters => guard(() => raw.prepare(sql).iterate(...parameters)),
    };
  };
  return { close: () => release(raw), prepare: preparedOnce(prepare) };
}

function queryError(path: string, error: unknown): MesoliteError {
  const code = codeOf(error);
  const options = { cause: error };
  if (code.startsWith('SQLITE_CONSTRAINT')) return new MesoliteError('CONFLICT', messageOf(error), options);
  if (code === 'SQLITE_FULL' || code.startsWith('SQLITE_IOERR')) {
    return new MesoliteError('UNAVAILABLE', `the database ${path} cannot be written: ${messageOf(error)}`, options);
  }
  return new MesoliteError('INTERNAL', `the database ${path}: ${messageOf(error)}`, options);
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

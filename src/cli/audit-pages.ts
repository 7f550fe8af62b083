import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { type AuditEntry, auditListSchema } from '../model/api.ts';
import { type AuditItem, auditChainPageSchema, auditItemSchema } from '../model/audit-item.ts';
import type { ApiClient } from './api-client.ts';
import { unreadable } from './file-words.ts';
import type { Shell } from './shell.ts';

/** What to ask for, as the API calls it; what is undefined is not asked. */
export type AuditQuery = Readonly<Record<string, string | number | undefined>>;

const perPage = 1_000;
const lineBounds = { maxBytes: 64 * 1024, maxDepth: 8 };

export function queryOf(query: AuditQuery): URLSearchParams {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) asked.set(name, String(value));
  return asked;
}

/** Every record and gap that fits, newest first, page by page. */
export async function* auditEntries(client: ApiClient, query: AuditQuery): AsyncGenerator<AuditEntry> {
  for (let after: string | undefined; ; ) {
    const asked = queryOf({ ...query, limit: perPage, after });
    const { entries, next } = await client.get(`/v1/audit?${asked}`, auditListSchema);
    yield* entries;
    if (next === undefined) return;
    after = next;
  }
}

/** The audit as the master has it, oldest first, page by page. */
export async function* auditItems(client: ApiClient, query: AuditQuery): AsyncGenerator<AuditItem> {
  for (let after: number | undefined; ; ) {
    const asked = queryOf({ ...query, limit: perPage, after });
    const { items, next } = await client.get(`/v1/audit/chain?${asked}`, auditChainPageSchema);
    yield* items;
    if (next === null) return;
    after = next;
  }
}

/** The audit as it was exported, line by line. Throws INVALID_INPUT with file and line. */
export async function* itemsOfFile(path: string): AsyncGenerator<AuditItem> {
  let rest = '';
  let number = 0;
  try {
    for await (const chunk of createReadStream(path, 'utf8')) {
      const lines = (rest + String(chunk)).split('\n');
      rest = lines.pop() ?? '';
      if (rest.length > lineBounds.maxBytes)
        throw new MesoliteError('TOO_LARGE', `${path}:${number + 1}: no such line`);
      for (const line of lines) yield decodeJson(auditItemSchema, line, `${path}:${++number}`, lineBounds);
    }
  } catch (cause) {
    if (cause instanceof MesoliteError) throw cause;
    throw unreadable(path, cause);
  }
  if (rest !== '') throw new MesoliteError('INVALID_INPUT', `${path}:${number + 1}: the file is cut off`);
}

/** Prints lines as fast as they are read on. */
export async function printAll(shell: Shell, lines: AsyncIterable<string>): Promise<void> {
  for await (const line of lines) {
    if (!shell.stdout.write(`${line}\n`)) await once(shell.stdout, 'drain', { signal: shell.signal });
  }
}

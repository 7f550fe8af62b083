import { type Kysely, sql } from 'kysely';
import type { AuditChainPage, AuditItem } from '../model/audit-item.ts';
import type { AuditAnchorTable, AuditTable, Schema } from './schema.ts';

/** Times are those at which the master stored, by its clock. */
export interface ChainFilter {
  readonly node?: string | undefined;
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  readonly after?: number | undefined;
  readonly limit: number;
}

/**
 * Entries and anchors as they were stored, oldest first, in whole batches; the first page begins with what vouches for them, and one that
 * comes later than a prune with the notes of that.
 */
export async function exportChain(db: Kysely<Schema>, filter: ChainFilter): Promise<AuditChainPage> {
  const { node, since, until, after, limit } = filter;
  const from = after ?? (since === undefined ? 0 : await positionBefore(db, since));
  const newest = await lastPosition(db);
  const to = until === undefined ? newest : Math.min(newest, await positionBefore(db, until));
  let end = Math.min(to, from + pageSpan);
  const rows = await entriesIn(db, { node, from, end, limit });
  if (rows.length === limit) end = rows.at(-1)?.position ?? end;
  const anchors = await anchorsIn(db, { node, from, end, limit });
  // a batch that is cut would lose its anchor where it is pruned before the next page
  if (rows.length === limit || anchors.length === limit) end = anchors.at(-1)?.position ?? end;
  const items = merge(
    rows.filter(({ position }) => position <= end),
    anchors,
  );
  return { items: [...(await vouchers(db, filter)), ...items], next: end >= to ? null : end };
}

/** So many positions are looked at for a page: where one node of many is asked for, the work stays bounded. */
const pageSpan = 20_000;

interface Span {
  readonly node: string | undefined;
  readonly from: number;
  readonly end: number;
  readonly limit: number;
}

function entriesIn(db: Kysely<Schema>, { node, from, end, limit }: Span): Promise<AuditTable[]> {
  const rows = db.selectFrom('audit').selectAll().where('position', '>', from).where('position', '<=', end);
  const own = node === undefined ? rows : rows.where(sql<string>`+node`, '=', node);
  return own.orderBy('position').limit(limit).execute();
}

function anchorsIn(db: Kysely<Schema>, { node, from, end, limit }: Span): Promise<AuditAnchorTable[]> {
  const rows = db.selectFrom('auditAnchors').selectAll().where('position', '>', from).where('position', '<=', end);
  const own = node === undefined ? rows : rows.where(sql<string>`+node`, '=', node);
  return own.orderBy('position').limit(limit).execute();
}

async function lastPosition(db: Kysely<Schema>): Promise<number> {
  const [entry, anchor] = await Promise.all([
    db.selectFrom('audit').select('position').orderBy('position', 'desc').limit(1).executeTakeFirst(),
    db.selectFrom('auditAnchors').select('position').orderBy('position', 'desc').limit(1).executeTakeFirst(),
  ]);
  return Math.max(entry?.position ?? 0, anchor?.position ?? 0);
}

/** Up to where all was stored before `at`. */
async function positionBefore(db: Kysely<Schema>, at: number): Promise<number> {
  const last = await db
    .selectFrom('auditAnchors')
    .select('position')
    .where('at', '<', at)
    .orderBy('at', 'desc')
    .orderBy('position', 'desc')
    .limit(1)
    .executeTakeFirst();
  return last?.position ?? 0;
}

async function vouchers(db: Kysely<Schema>, { node, since, after }: ChainFilter): Promise<AuditItem[]> {
  const isOvertaken = after !== undefined && (await wasPruned(db, after));
  // an audit that begins later than a note is about would look cut
  if (after === undefined && since !== undefined) return signers(db);
  if (after !== undefined && !isOvertaken) return [];
  let pruned = db.selectFrom('auditPruned').selectAll();
  if (node !== undefined) pruned = pruned.where('node', '=', node);
  return [
    ...(await signers(db)),
    ...(await pruned.execute()).map(
      ({ node, statement, keyId, signature }): AuditItem => ({ kind: 'pruned', node, statement, keyId, signature }),
    ),
  ];
}

/** Is something gone of what comes behind `position`? Positions leave none out. */
async function wasPruned(db: Kysely<Schema>, position: number): Promise<boolean> {
  const first = await db.selectFrom('audit').select('position').orderBy('position').limit(1).executeTakeFirst();
  return first !== undefined && first.position > position + 1;
}

async function signers(db: Kysely<Schema>): Promise<AuditItem[]> {
  const rows = await db.selectFrom('auditSigners').selectAll().execute();
  return rows.map((signer): AuditItem => ({ kind: 'signer', ...signer }));
}

function merge(rows: readonly AuditTable[], anchors: readonly AuditAnchorTable[]): AuditItem[] {
  const items: AuditItem[] = [];
  let next = 0;
  const anchorsTo = (position: number) => {
    for (let anchor = anchors[next]; anchor !== undefined && anchor.position < position; anchor = anchors[++next]) {
      const { node, statement, keyId, signature } = anchor;
      items.push({ kind: 'anchor', node, statement, keyId, signature });
    }
  };
  for (const row of rows) {
    anchorsTo(row.position);
    items.push(itemOf(row));
  }
  anchorsTo(Number.POSITIVE_INFINITY);
  return items;
}

function itemOf({ node, chain, number, at, line, gap }: AuditTable): AuditItem {
  if (line === null) return { kind: 'gap', node, chain, number, at, reason: gap ?? '' };
  return { kind: 'record', node, chain, number, record: JSON.parse(line) };
}

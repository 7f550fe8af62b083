import { createHash } from 'node:crypto';
import type { Kysely, Transaction } from 'kysely';
import { decodeJson } from '../base/shape.ts';
import { type AccessRecord, accessRecordSchema } from '../model/access.ts';
import { type AuditBatch, chainHead, chainStart, isIntact, type Sha256 } from '../model/audit-chain.ts';
import { raiseCounter, readCounter } from './meta.ts';
import { paced } from './paced.ts';
import type { AuditChainTable, AuditTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

/**
 * `stored`: new records follow the ones before. `repeated`: all were stored before. `gap`: stored, behind a mark that says what is
 * missing. `broken`: the batch's own hashes do not hold, nothing stored. `last` is the number to acknowledge, -1 before the first.
 */
export interface AuditOutcome {
  readonly outcome: 'stored' | 'repeated' | 'gap' | 'broken';
  readonly last: number;
}

/** A record as its node wrote it, or the mark of a gap before record `number + 1`. */
export type AuditEntry =
  | { readonly kind: 'record'; readonly node: string; readonly number: number; readonly record: AccessRecord }
  | {
      readonly kind: 'gap';
      readonly node: string;
      readonly number: number;
      readonly at: number;
      readonly reason: string;
    };

/** Times are those of the records, by the nodes' clocks. */
export interface AuditFilter {
  readonly since?: number;
  /** Who called, exactly as recorded. */
  readonly source?: string;
  readonly verdict?: 'allow' | 'deny';
  readonly limit: number;
}

export interface Audit {
  /** Throws INVALID_INPUT, and stores nothing, when a line is no access record. */
  append(node: string, batch: AuditBatch): Promise<AuditOutcome>;
  /** Newest first; gaps are among the answers whatever is asked for, since the records that they hide may have fitted. */
  query(filter: AuditFilter): Promise<AuditEntry[]>;
  /** Forgets the oldest records beyond `keep`, and those before `before`; returns how many. */
  trim(bounds: { readonly keep: number; readonly before: number }): Promise<number>;
}

const counter = 'audit';
/** What the mark of a gap has in the column of verdicts. */
const gapVerdict = 'gap';
const maxLineBytes = 16_384;
const sha256: Sha256 = text => createHash('sha256').update(text).digest('hex');

export function makeAudit(db: Kysely<Schema>): Audit {
  return {
    append: (node, batch) => db.transaction().execute(tx => append(tx, node, batch)),
    query: filter => query(db, filter),
    async trim({ keep, before }) {
      const newest = await readCounter(db, counter);
      const { numDeletedRows } = await db
        .deleteFrom('audit')
        .where(eb => eb.or([eb('position', '<=', newest - keep), eb('at', '<', before)]))
        .executeTakeFirst();
      return Number(numDeletedRows);
    },
  };
}

async function append(tx: Transaction<Schema>, node: string, batch: AuditBatch): Promise<AuditOutcome> {
  const stored = await tx.selectFrom('auditChains').selectAll().where('node', '=', node).executeTakeFirst();
  const chain: AuditChainTable = stored ?? { node, chain: 0, last: -1, head: chainStart };
  if (!isIntact(batch, sha256)) return { outcome: 'broken', last: chain.last };

  const known = chain.last + 1 - batch.first;
  // an agent that was started again begins a new chain; whatever it had not handed over is lost
  if (known < 0 && batch.previous === chainStart) {
    const reason = stored === undefined ? undefined : `the agent was started again after record ${chain.last}`;
    return store(tx, { ...chain, chain: chain.chain + 1 }, batch, reason);
  }
  if (known < 0) return store(tx, chain, batch, `records ${chain.last + 1} to ${batch.first - 1} are missing`);
  const knownLines = batch.lines.slice(0, known);
  // what came before may be sent again, alone or with more behind it: it has to be the same then
  const covers = known <= batch.lines.length;
  if (covers && chainHead(batch.previous, knownLines, sha256) === chain.head) {
    if (known === batch.lines.length) return { outcome: 'repeated', last: chain.last };
    const rest = { ...batch, first: chain.last + 1, lines: batch.lines.slice(known) };
    return store(tx, chain, rest, undefined);
  }
  if (!covers && (await isStored(tx, chain, batch))) return { outcome: 'repeated', last: chain.last };
  const reason = `records from ${batch.first} on do not follow from what was stored up to ${chain.last}`;
  return store(tx, { ...chain, chain: chain.chain + 1 }, batch, reason);
}

/** Is every line of a batch that ends before the newest record there, or forgotten by age? */
async function isStored(tx: Transaction<Schema>, chain: AuditChainTable, batch: AuditBatch): Promise<boolean> {
  const rows = await tx
    .selectFrom('audit')
    .select(['number', 'line'])
    .where('node', '=', chain.node)
    .where('chain', '=', chain.chain)
    .where('number', '>=', batch.first)
    .where('number', '<', batch.first + batch.lines.length)
    .where('line', 'is not', null)
    .execute();
  return rows.every(row => row.line === batch.lines[row.number - batch.first]);
}

async function store(
  tx: Transaction<Schema>,
  chain: AuditChainTable,
  batch: AuditBatch,
  gap: string | undefined,
): Promise<AuditOutcome> {
  const { node } = chain;
  const records = batch.lines.map((line, i) => toRow(node, chain.chain, batch.first + i, line));
  const first = records[0];
  const marks = gap === undefined || first === undefined ? [] : [gapRow(first, gap)];
  const rows = [...marks, ...records];
  const newest = await raiseCounter(tx, counter, rows.length);
  const placed = rows.map((row, i): AuditTable => ({ ...row, position: newest - rows.length + 1 + i }));
  await paced(placed, async row => {
    await tx.insertInto('audit').values(row).execute();
  });
  const last = batch.first + batch.lines.length - 1;
  const state = { chain: chain.chain, last, head: batch.head };
  await tx
    .insertInto('auditChains')
    .values({ node, ...state })
    .onConflict(on => on.column('node').doUpdateSet(state))
    .execute();
  return { outcome: gap === undefined ? 'stored' : 'gap', last };
}

type Unplaced = Omit<AuditTable, 'position'>;

function toRow(node: string, chain: number, number: number, line: string): Unplaced {
  const what = `audit record ${number} of ${node}`;
  const { at, source, verdict } = decodeJson(accessRecordSchema, line, what, { maxBytes: maxLineBytes, maxDepth: 4 });
  return { node, chain, number, at, source, verdict, line, gap: null };
}

function gapRow(first: Unplaced, gap: string): Unplaced {
  return { ...first, number: first.number - 1, source: '', verdict: gapVerdict, line: null, gap };
}

async function query(db: Kysely<Schema>, { since = 0, source, verdict, limit }: AuditFilter): Promise<AuditEntry[]> {
  const newest = db
    .selectFrom('audit')
    .selectAll()
    .where('at', '>=', since)
    .orderBy('at', 'desc')
    .orderBy('position', 'desc')
    .limit(limit);
  if (source === undefined && verdict === undefined) return (await newest.execute()).map(toEntry);
  // apart, so that each follows an index in its order
  let records = newest;
  if (source !== undefined) records = records.where('source', '=', source);
  if (verdict !== undefined) records = records.where('verdict', '=', verdict);
  const gaps = await newest.where('verdict', '=', gapVerdict).execute();
  return [...(await records.execute()), ...gaps]
    .sort((a, b) => b.at - a.at || b.position - a.position)
    .slice(0, limit)
    .map(toEntry);
}

function toEntry({ node, number, at, line, gap }: AuditTable): AuditEntry {
  return line === null
    ? { kind: 'gap', node, number, at, reason: gap ?? 'a record is missing' }
    : { kind: 'record', node, number, record: readJson(accessRecordSchema, line, `audit record ${number} of ${node}`) };
}

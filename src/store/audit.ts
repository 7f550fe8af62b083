import { createHash } from 'node:crypto';
import { type Kysely, sql, type Transaction } from 'kysely';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import { type AccessRecord, accessRecordSchema } from '../model/access.ts';
import { digestsOf, type StatementSigner, signStatement } from '../model/audit-anchor.ts';
import {
  type AuditBatch,
  type AuditLine,
  auditLineSchema,
  chainHead,
  chainStart,
  isIntact,
  numbersPerRun,
  printAuditNumber,
  printGap,
  runOf,
  type Sha256,
} from '../model/audit-chain.ts';
import type { AuditChainPage } from '../model/audit-item.ts';
import { type ChainFilter, exportChain } from './audit-export.ts';
import { type AuditPruning, pruneAudit } from './audit-pruning.ts';
import { keepSigner } from './audit-signers.ts';
import { raiseCounter } from './meta.ts';
import { paced } from './paced.ts';
import type { AuditRunTable, AuditTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';

/**
 * `stored`: new entries follow the ones before. `repeated`: all were stored before. `gap`: stored, behind a mark that says what is
 * missing. `broken`: the batch's own hashes do not hold, nothing stored. `last` is the number to acknowledge.
 */
export interface AuditOutcome {
  readonly outcome: 'stored' | 'repeated' | 'gap' | 'broken';
  readonly last: number;
}

/** A record as its node wrote it, or a gap: as the node said it, or as the master noted it before record `number + 1`. */
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
  /** Not from then on. */
  readonly until?: number;
  readonly node?: string;
  /** Who called, exactly as recorded. */
  readonly source?: string;
  /** `<namespace>/<job>` whose task was called or has called. */
  readonly workload?: string;
  readonly verdict?: 'allow' | 'deny';
  readonly limit: number;
  /** What a page before this one gave as `next`. */
  readonly after?: string;
}

export interface AuditPage {
  readonly entries: AuditEntry[];
  /** Undefined behind the last. */
  readonly next?: string;
}

export interface Audit {
  /** Stores what is new and an anchor for it. Throws INVALID_INPUT, and stores nothing, when a line is neither record nor mark. */
  append(node: string, batch: AuditBatch, at: number, signer: StatementSigner): Promise<AuditOutcome>;
  /** Newest first; gaps are among the answers whatever is asked for, since the records that they hide may have fitted. */
  query(filter: AuditFilter): Promise<AuditPage>;
  /** As `exportChain`. */
  chain(filter: ChainFilter): Promise<AuditChainPage>;
  /** Forgets some of the oldest that are beyond the bounds, whole batches, behind a signed note; returns how many entries, 0 when none are left. */
  prune(bounds: AuditPruning, at: number, signer: StatementSigner): Promise<number>;
}

const counter = 'audit';
const bytesCounter = 'auditBytes';
/** What gaps and other marks have in the column of verdicts. */
const gapVerdict = 'gap';
const markVerdict = 'mark';
const maxLineBytes = 16_384;
const sha256: Sha256 = text => createHash('sha256').update(text).digest('hex');

export function makeAudit(db: Kysely<Schema>): Audit {
  return {
    append: (node, batch, at, signer) =>
      db.transaction().execute(async tx => {
        const step = await judge(tx, node, batch);
        return 'outcome' in step ? step : store(tx, step, at, signer);
      }),
    query: filter => query(db, filter),
    chain: filter => db.transaction().execute(tx => exportChain(tx, filter)),
    prune: (bounds, at, signer) => db.transaction().execute(tx => pruneAudit(tx, bounds, at, signer)),
  };
}

/** What is to be stored: entries behind the state of their chain, and what is missing before them. */
interface Step {
  readonly chain: Omit<AuditRunTable, 'position'>;
  readonly batch: AuditBatch;
  readonly gap: string | null;
}

async function judge(tx: Transaction<Schema>, node: string, batch: AuditBatch): Promise<Step | AuditOutcome> {
  const run = runOf(batch.first);
  const stored = await tx
    .selectFrom('auditRuns')
    .selectAll()
    .where('node', '=', node)
    .where('run', '=', run)
    .executeTakeFirst();
  const chain = stored ?? { node, run, chain: 1, last: run * numbersPerRun - 1, head: chainStart };
  if (!isIntact(batch, sha256)) return { outcome: 'broken', last: chain.last };

  const known = chain.last + 1 - batch.first;
  if (known < 0) {
    const missing = `${printAuditNumber(chain.last + 1)} to ${printAuditNumber(batch.first - 1)}`;
    return { chain, batch, gap: `records ${missing} are missing` };
  }
  // what came before may be sent again, alone or with more behind it: it has to be the same then
  const covers = known <= batch.lines.length;
  if (covers && chainHead(batch.previous, batch.lines.slice(0, known), sha256) === chain.head) {
    if (known === batch.lines.length) return { outcome: 'repeated', last: chain.last };
    const rest = { ...batch, first: chain.last + 1, previous: chain.head, lines: batch.lines.slice(known) };
    return { chain, batch: rest, gap: null };
  }
  if (!covers && (await isStored(tx, chain, batch))) return { outcome: 'repeated', last: chain.last };
  const [first, last] = [printAuditNumber(batch.first), printAuditNumber(chain.last)];
  const gap = `records from ${first} on do not follow from what was stored up to ${last}`;
  return { chain: { ...chain, chain: chain.chain + 1 }, batch, gap };
}

/** Is every line of a batch that ends before the newest record there, or forgotten by age? */
async function isStored(tx: Transaction<Schema>, chain: Step['chain'], batch: AuditBatch): Promise<boolean> {
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
  { chain, batch, gap }: Step,
  at: number,
  signer: StatementSigner,
): Promise<AuditOutcome> {
  const { node } = chain;
  const records = batch.lines.map((line, i) => toRow(node, chain.chain, batch.first + i, line));
  const first = records[0];
  const marks = gap === null || first === undefined ? [] : [gapRow(first, gap)];
  const rows = [...marks, ...records];
  const newest = await raiseCounter(tx, counter, rows.length);
  const placed = rows.map((row, i): AuditTable => ({ ...row, position: newest - rows.length + 1 + i }));
  await paced(placed, async row => {
    await tx.insertInto('audit').values(row).execute();
  });
  const last = batch.first + batch.lines.length - 1;
  const state = { chain: chain.chain, last, head: batch.head, position: newest };
  await tx
    .insertInto('auditRuns')
    .values({ node, run: chain.run, ...state })
    .onConflict(on => on.columns(['node', 'run']).doUpdateSet(state))
    .execute();
  await anchor(tx, { chain, batch, gap }, { at, position: newest }, signer);
  return { outcome: gap === null ? 'stored' : 'gap', last };
}

async function anchor(
  tx: Transaction<Schema>,
  { chain: { node, chain }, batch, gap }: Step,
  { at, position }: { readonly at: number; readonly position: number },
  signer: StatementSigner,
): Promise<void> {
  const { first, previous, head, lines } = batch;
  const before = await newestAnchor(tx, node);
  const last = first + lines.length - 1;
  const digests = digestsOf(lines, sha256);
  const place = { node, seq: before.seq + 1, before: before.hash, at, chain };
  const signed = signStatement({ v: 1, ...place, first, last, previous, head, digests, gap }, signer);
  const bytes = lines.reduce((sum, line) => sum + line.length, 0);
  const bytesTo = await raiseCounter(tx, bytesCounter, bytes);
  await tx
    .insertInto('auditAnchors')
    .values({ position, node, seq: place.seq, at, bytesTo, ...signed })
    .execute();
  await keepSigner(tx, signer);
}

/** The place and hash of the anchor that the next one of the node follows. */
async function newestAnchor(
  tx: Transaction<Schema>,
  node: string,
): Promise<{ readonly seq: number; readonly hash: string }> {
  const newest = await tx
    .selectFrom('auditAnchors')
    .select(['seq', 'statement'])
    .where('node', '=', node)
    .orderBy('seq', 'desc')
    .limit(1)
    .executeTakeFirst();
  if (newest !== undefined) return { seq: newest.seq, hash: sha256(newest.statement) };
  const pruned = await tx.selectFrom('auditPruned').selectAll().where('node', '=', node).executeTakeFirst();
  return pruned === undefined ? { seq: 0, hash: chainStart } : { seq: pruned.seq, hash: pruned.hash };
}

type Unplaced = Omit<AuditTable, 'position'>;

function toRow(node: string, chain: number, number: number, line: string): Unplaced {
  const what = `audit record ${printAuditNumber(number)} of ${node}`;
  const value = decodeJson(auditLineSchema, line, what, { maxBytes: maxLineBytes, maxDepth: 4 });
  // so that an export, which has it as JSON among JSON, can be hashed again
  if (JSON.stringify(JSON.parse(line)) !== line)
    throw new MesoliteError('INVALID_INPUT', `${what}: not as JSON prints it`);
  return { node, chain, number, line, at: value.at, ...columnsOf(value) };
}

function columnsOf(value: AuditLine): Pick<Unplaced, 'source' | 'verdict' | 'workload' | 'gap'> {
  if (!('mark' in value)) {
    const { source, verdict, task } = value;
    const [job = '-', namespace = '-'] = task.split('.');
    return { source, verdict, workload: `${namespace}/${job}`, gap: null };
  }
  const isGap = value.mark === 'gap';
  return { source: '', workload: '', verdict: isGap ? gapVerdict : markVerdict, gap: isGap ? printGap(value) : null };
}

function gapRow(first: Unplaced, gap: string): Unplaced {
  return { ...first, number: first.number - 1, source: '', workload: '', verdict: gapVerdict, line: null, gap };
}

async function query(db: Kysely<Schema>, filter: AuditFilter): Promise<AuditPage> {
  const { since = 0, until, node, source, workload, verdict, limit, after } = filter;
  let all = db
    .selectFrom('audit')
    .selectAll()
    .where('at', '>=', since)
    .orderBy('at', 'desc')
    .orderBy('position', 'desc')
    .limit(limit + 1);
  if (until !== undefined) all = all.where('at', '<', until);
  if (after !== undefined) {
    const [at = 0, position = 0] = after.split('_').map(Number);
    all = all.where('at', '<=', at).where(eb => eb.or([eb('at', '<', at), eb('position', '<', position)]));
  }
  // apart, so that each follows an index in its order
  let records =
    verdict === undefined
      ? all.where('verdict', 'not in', [gapVerdict, markVerdict])
      : all.where('verdict', '=', verdict);
  let gaps = all.where('verdict', '=', gapVerdict);
  if (node !== undefined) {
    records = records.where('node', '=', node);
    gaps = gaps.where(sql<string>`+node`, '=', node);
  }
  if (source !== undefined) records = records.where('source', '=', source);
  if (workload !== undefined) records = records.where('workload', '=', workload);
  const rows = [...(await records.execute()), ...(await gaps.execute())].sort(
    (a, b) => b.at - a.at || b.position - a.position,
  );
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const more = rows.length > limit && last !== undefined ? { next: `${last.at}_${last.position}` } : {};
  return { entries: page.map(toEntry), ...more };
}

function toEntry({ node, number, at, line, gap }: AuditTable): AuditEntry {
  if (gap !== null || line === null) return { kind: 'gap', node, number, at, reason: gap ?? 'a record is missing' };
  const what = `audit record ${printAuditNumber(number)} of ${node}`;
  return { kind: 'record', node, number, record: readJson(accessRecordSchema, line, what) };
}

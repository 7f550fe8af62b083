import { createHash } from 'node:crypto';
import type { Transaction } from 'kysely';
import { type StatementSigner, signStatement } from '../model/audit-anchor.ts';
import { keepSigner } from './audit-signers.ts';
import { readCounter } from './meta.ts';
import type { AuditAnchorTable, Schema } from './schema.ts';

/** What is kept; times are those at which the master stored. */
export interface AuditPruning {
  readonly since: number;
  /** Of the lines of records. */
  readonly bytes: number;
}

/** So much goes in one transaction: some milliseconds of work. */
const perTurn = { anchors: 100, entries: 1_000 } as const;

/** Forgets the oldest anchors with their entries, a bounded number of them, and signs up to where; returns how many entries went. */
export async function pruneAudit(
  tx: Transaction<Schema>,
  { since, bytes }: AuditPruning,
  at: number,
  signer: StatementSigner,
): Promise<number> {
  const total = await readCounter(tx, 'auditBytes');
  const oldest = await tx.selectFrom('auditAnchors').selectAll().orderBy('position').limit(perTurn.anchors).execute();
  const start = await firstPosition(tx);
  const isGone = (each: AuditAnchorTable) => each.at < since || each.bytesTo <= total - bytes;
  const kept = oldest.findIndex((each, i) => !isGone(each) || (i > 0 && each.position - start >= perTurn.entries));
  const gone = kept < 0 ? oldest : oldest.slice(0, kept);
  const end = gone.at(-1)?.position;
  if (end === undefined) return 0;
  for (const { node, seq, statement } of new Map(gone.map(each => [each.node, each])).values()) {
    const hash = createHash('sha256').update(statement).digest('hex');
    const signed = signStatement({ v: 1, node, pruned: seq, before: hash, at }, signer);
    const values = { seq, hash, ...signed };
    await tx
      .insertInto('auditPruned')
      .values({ node, ...values })
      .onConflict(on => on.column('node').doUpdateSet(values))
      .execute();
  }
  await keepSigner(tx, signer);
  await tx.deleteFrom('auditAnchors').where('position', '<=', end).execute();
  // a node that was quiet for long goes on where its newest run stands
  await tx
    .deleteFrom('auditRuns')
    .where('position', '<=', end)
    .where(({ exists, selectFrom }) =>
      exists(
        selectFrom('auditRuns as newer')
          .select('newer.run')
          .whereRef('newer.node', '=', 'auditRuns.node')
          .whereRef('newer.run', '>', 'auditRuns.run'),
      ),
    )
    .execute();
  const { numDeletedRows } = await tx.deleteFrom('audit').where('position', '<=', end).executeTakeFirst();
  return Number(numDeletedRows);
}

async function firstPosition(tx: Transaction<Schema>): Promise<number> {
  const row = await tx.selectFrom('audit').select('position').orderBy('position').limit(1).executeTakeFirst();
  return row?.position ?? 0;
}

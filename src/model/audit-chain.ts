import * as v from 'valibot';
import { accessRecordSchema } from './access.ts';

/** The hash before the first entry of a run. */
export const chainStart = '0'.repeat(64);

/** Entries of one start of an agent (a run) are numbered from boot × 2³², so that numbers rise over restarts. */
export const numbersPerRun = 2 ** 32;

export function runOf(number: number): number {
  return Math.floor(number / numbersPerRun);
}

/** `7.42`: the entry of index 42 of the node's seventh start. */
export function printAuditNumber(number: number): string {
  return `${runOf(number)}.${number % numbersPerRun}`;
}

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/**
 * Consecutive entries of one run. `lines` are the entries' exact JSON texts; each entry's hash is
 * SHA-256(hash of the one before + "\n" + line), `previous` is the hash before the first line, `head` after the last.
 */
export const auditBatchSchema = v.object({
  first: whole,
  previous: hash,
  head: hash,
  lines: v.pipe(v.array(v.pipe(v.string(), v.maxLength(16_384))), v.minLength(1), v.maxLength(500)),
});

export type AuditBatch = v.InferOutput<typeof auditBatchSchema>;

const at = { at: v.number(), sinceStartMs: v.optional(v.number()) };

/** What a node says in its chain besides its records. */
export const auditMarkSchema = v.variant('mark', [
  /** The first entry of a run; `allowed` is the share that is recorded of what was allowed and went well. */
  v.object({ mark: v.literal('start'), ...at, allowed: v.number() }),
  /** The node has learned the time: it is `at`, `sinceStartMs` after the start. */
  v.object({ mark: v.literal('clock'), ...at }),
  /** Records are missing. `first` and `last` are their numbers as far as they had any, `count` is null where nobody knows it. */
  v.object({
    mark: v.literal('gap'),
    ...at,
    reason: v.pipe(v.string(), v.maxLength(256)),
    first: v.nullable(whole),
    last: v.nullable(whole),
    count: v.nullable(whole),
  }),
  /** The last entry of a run that ended in order. */
  v.object({ mark: v.literal('end'), ...at }),
]);

/** One line of the chain: a decided request, or a mark. */
export const auditLineSchema = v.union([accessRecordSchema, auditMarkSchema]);

export type AuditMark = v.InferOutput<typeof auditMarkSchema>;
export type AuditGap = Extract<AuditMark, { mark: 'gap' }>;
export type AuditLine = v.InferOutput<typeof auditLineSchema>;

/** When a node's records go to the medium: at each write, at each write while there is no link to the master, or when the system likes. */
export const auditSyncs = ['always', 'offline', 'never'] as const;
export type AuditSync = (typeof auditSyncs)[number];

/** Lower-case hexadecimal SHA-256 of a text's UTF-8. */
export type Sha256 = (text: string) => string;

/** The hash after `lines`, which follow an entry of hash `previous`. */
export function chainHead(previous: string, lines: readonly string[], sha256: Sha256): string {
  return lines.reduce((head, line) => sha256(`${head}\n${line}`), previous);
}

export function isIntact(batch: AuditBatch, sha256: Sha256): boolean {
  return chainHead(batch.previous, batch.lines, sha256) === batch.head;
}

/** What a gap says to people, after the numbers that are missing. */
export function printGap({ reason, first, last, count }: Omit<AuditGap, 'mark' | 'at'>): string {
  const many = count === null ? 'records' : count === 1 ? '1 record' : `${count} records`;
  const numbers =
    first === null ? '' : ` from ${printAuditNumber(first)}${last === null ? ' on' : ` to ${printAuditNumber(last)}`}`;
  return `${many}${numbers} ${count === null ? 'may be' : count === 1 ? 'is' : 'are'} missing: ${reason}`;
}

import * as v from 'valibot';

/** The hash before the first record of a node. */
export const chainStart = '0'.repeat(64);

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));

/**
 * Consecutive records of one node. `lines` are the records' exact JSON texts; each record's hash is
 * SHA-256(hash of the one before + "\n" + line), `previous` is the hash before the first line, `head` after the last.
 */
export const auditBatchSchema = v.object({
  first: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
  previous: hash,
  head: hash,
  lines: v.pipe(v.array(v.pipe(v.string(), v.maxLength(16_384))), v.minLength(1), v.maxLength(500)),
});

export type AuditBatch = v.InferOutput<typeof auditBatchSchema>;

/** Lower-case hexadecimal SHA-256 of a text's UTF-8. */
export type Sha256 = (text: string) => string;

/** The hash after `lines`, which follow a record of hash `previous`. */
export function chainHead(previous: string, lines: readonly string[], sha256: Sha256): string {
  return lines.reduce((head, line) => sha256(`${head}\n${line}`), previous);
}

export function isIntact(batch: AuditBatch, sha256: Sha256): boolean {
  return chainHead(batch.previous, batch.lines, sha256) === batch.head;
}

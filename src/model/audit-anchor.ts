import { Buffer } from 'node:buffer';
import * as v from 'valibot';
import { decodeJson } from '../base/shape.ts';
import type { AuditBatch, Sha256 } from './audit-chain.ts';

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/**
 * What the master signs of each batch that it stores: which entries, by whom, and that they follow what it had. The anchors of a node
 * are numbered and carry the hash of the one before, so that none can be taken out. `digests` has 8 hexadecimal characters of
 * each line's SHA-256, so that a changed line can be named; what proves it is `head`.
 */
export const anchorSchema = v.strictObject({
  v: v.literal(1),
  node: text(63),
  /** From 1, for each node. */
  seq: whole,
  /** SHA-256 of the statement before it; `chainStart` for the first. */
  before: hash,
  /** Milliseconds since 1970, by the master's clock. */
  at: v.number(),
  /** Another one where a run's entries did not follow from those before. */
  chain: whole,
  first: whole,
  last: whole,
  previous: hash,
  head: hash,
  digests: v.pipe(v.string(), v.regex(/^([0-9a-f]{8}){1,500}$/)),
  /** What the master missed before `first`. */
  gap: v.nullable(text(256)),
});

/** What the master signs when it forgets the oldest: anchors up to `seq`, the last of which had the hash `before`. */
export const prunedSchema = v.strictObject({
  v: v.literal(1),
  node: text(63),
  pruned: whole,
  before: hash,
  at: v.number(),
});

export type Anchor = v.InferOutput<typeof anchorSchema>;
export type Pruned = v.InferOutput<typeof prunedSchema>;

/** The exact text that was signed, by whom, and the signature in base64url. */
export const signedSchema = v.object({ statement: text(8192), keyId: hash, signature: text(128) });
export type Signed = v.InferOutput<typeof signedSchema>;

/** Signs a statement; `certificate` is the PEM by which others believe the key. */
export interface StatementSigner {
  readonly keyId: string;
  readonly certificate: string;
  sign(bytes: Uint8Array): Uint8Array;
}

const digestLength = 8;

/** Throws INVALID_INPUT. */
export function readAnchor(statement: string): Anchor {
  return decodeJson(anchorSchema, statement, 'anchor', { maxBytes: 8192, maxDepth: 2 });
}

/** Throws INVALID_INPUT. */
export function readPruned(statement: string): Pruned {
  return decodeJson(prunedSchema, statement, 'note of what was pruned', { maxBytes: 1024, maxDepth: 2 });
}

/** The bytes that are signed: an anchor cannot be taken for an envelope. */
export function signedBytes(statement: string): Buffer {
  return Buffer.from(`mesolite/v1/audit\0${statement}`);
}

export function signStatement(statement: Anchor | Pruned, { keyId, sign }: StatementSigner): Signed {
  const text = JSON.stringify(statement);
  return { statement: text, keyId, signature: Buffer.from(sign(signedBytes(text))).toString('base64url') };
}

export function digestsOf(lines: AuditBatch['lines'], sha256: Sha256): string {
  return lines.map(line => digestOf(line, sha256)).join('');
}

export function digestOf(line: string, sha256: Sha256): string {
  return sha256(line).slice(0, digestLength);
}

export function splitDigests({ digests }: Anchor): readonly string[] {
  return digests.match(/.{8}/g) ?? [];
}

import * as v from 'valibot';
import { decodeJson } from '../base/shape.ts';
import type { Sha256 } from '../model/audit-chain.ts';

/** An entry of the chain as it waits on the disk. */
export interface AuditEntry {
  readonly number: number;
  readonly line: string;
  /** The chain's hash after this line. */
  readonly hash: string;
}

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/** The first line of a segment; `owner` is the process that writes it. */
const headSchema = v.object({
  v: v.literal(1),
  node: text(63),
  first: whole,
  previous: text(64),
  owner: v.object({ pid: whole, boot: text(64), start: text(64) }),
});

export type SegmentHead = v.InferOutput<typeof headSchema>;

// A segment is text: its head, and then blocks of what was written at once. Each ends with `=<number of lines> <hash after them>`, so
// that whatever a power cut or a worn card leaves of a block is told from a whole one.

export function printHead(head: SegmentHead): string {
  return `${JSON.stringify(head)}\n`;
}

export function printBlock(entries: readonly AuditEntry[]): string {
  const lines = entries.map(({ line }) => `${line}\n`).join('');
  return `${lines}=${entries.length} ${entries.at(-1)?.hash}\n`;
}

/** The blocks that are whole, up to the first that is not; undefined when not even the head is. */
export function parseSegment(
  bytes: Uint8Array,
  sha256: Sha256,
): { readonly head: SegmentHead; readonly entries: readonly AuditEntry[]; readonly isWhole: boolean } | undefined {
  const [first = '', ...lines] = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString().split('\n');
  const head = readHead(first);
  if (head === undefined) return undefined;
  const entries: AuditEntry[] = [];
  let [whole, hash] = [0, head.previous];
  for (const line of lines.slice(0, -1)) {
    if (line.startsWith('{')) {
      hash = sha256(`${hash}\n${line}`);
      entries.push({ number: head.first + entries.length, line, hash });
    } else if (line === `=${entries.length - whole} ${hash}`) whole = entries.length;
    else break;
  }
  const isWhole = whole === entries.length && lines.at(-1) === '' && lines.at(-2)?.startsWith('=') !== false;
  return { head, entries: entries.slice(0, whole), isWhole };
}

function readHead(line: string): SegmentHead | undefined {
  try {
    return decodeJson(headSchema, line, 'head of an audit segment', { maxBytes: 1024, maxDepth: 3 });
  } catch {
    return undefined;
  }
}

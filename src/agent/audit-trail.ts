import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { AccessRecord } from '../model/access.ts';
import { chainHead, chainStart, type Sha256 } from '../model/audit-chain.ts';
import type { Sender } from './sender.ts';

export const auditBounds = {
  /** Records that wait for the master; the oldest are dropped when one more comes, which leaves a gap in the numbers. */
  pending: 20_000,
  perBatch: 200,
  /** Of a batch as it travels; a message takes 256 KiB. */
  perBatchBytes: 160 * 1024,
  flushEveryMs: 500,
  /** A batch that is not acknowledged by then is said again. */
  repeatAfterMs: 10_000,
} as const;

/** Numbers of one boot start at boot × 2³², so that they rise over restarts and nothing need be written. */
const numbersPerBoot = 2 ** 32;

interface Entry {
  readonly number: number;
  readonly line: string;
  /** The chain's hash before and after this line. */
  readonly previous: string;
  readonly hash: string;
}

/** Hash-chains the node's access records and hands them to the master in batches, in order, each until it is acknowledged. */
export interface AuditTrail {
  record(record: AccessRecord): void;
  /** The master has stored everything up to `number`. */
  acknowledge(number: number): void;
  run(signal: AbortSignal): Promise<void>;
}

export function makeAuditTrail(parts: {
  readonly sender: Sender;
  readonly clock: Clock;
  readonly log: Log;
  readonly sha256: Sha256;
  readonly isUp: () => boolean;
}): AuditTrail {
  const { sender, clock, log, sha256, isUp } = parts;
  const pending: Entry[] = [];
  let next = sender.boot * numbersPerBoot;
  let head = chainStart;
  let sentAt = Number.NEGATIVE_INFINITY;
  let dropped = 0;

  function flush(): void {
    const [first] = pending;
    const waited = clock.monotonic() - sentAt;
    if (first === undefined || !isUp() || waited < auditBounds.repeatAfterMs) return;
    sentAt = clock.monotonic();
    if (dropped > 0) log.warn('audit records were dropped; the gap shows in their numbers', { dropped });
    dropped = 0;
    const entries = firstBatch(pending);
    const last = entries.at(-1) ?? first;
    const lines = entries.map(entry => entry.line);
    sender.send('audit', { batch: { first: first.number, previous: first.previous, head: last.hash, lines } });
  }

  return {
    record(record) {
      if (pending.length >= auditBounds.pending) {
        pending.splice(0, auditBounds.perBatch);
        dropped += auditBounds.perBatch;
      }
      const line = JSON.stringify(record);
      const previous = head;
      head = chainHead(previous, [line], sha256);
      pending.push({ number: next++, line, previous, hash: head });
    },
    acknowledge(number) {
      const kept = pending.findIndex(entry => entry.number > number);
      // said twice it tells nothing of the batch that is under way
      if (pending.splice(0, kept < 0 ? pending.length : kept).length === 0) return;
      sentAt = Number.NEGATIVE_INFINITY;
      if (pending.length >= auditBounds.perBatch) flush();
    },
    async run(signal) {
      while (await clock.sleep(auditBounds.flushEveryMs, signal)) flush();
    },
  };
}

/** As many of the oldest as one message takes, one at least. */
function firstBatch(pending: readonly Entry[]): readonly Entry[] {
  let bytes = 0;
  let count = 0;
  for (const { line } of pending.slice(0, auditBounds.perBatch)) {
    // a line travels as a text within JSON
    bytes += Buffer.byteLength(JSON.stringify(line));
    if (count > 0 && bytes > auditBounds.perBatchBytes) break;
    count++;
  }
  return pending.slice(0, count);
}

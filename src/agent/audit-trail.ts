import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import type { AccessRecord } from '../model/access.ts';
import type { AuditSync } from '../model/audit-chain.ts';
import { wentWell } from './access-log.ts';
import { type AuditJournal, journalBounds } from './audit-journal.ts';
import { AuditMarks } from './audit-marks.ts';
import type { AuditEntry } from './audit-segment.ts';
import type { NodeClock } from './clock.ts';
import type { Sender } from './sender.ts';

export const auditBounds = {
  /** Records that wait for the disk; further ones are counted, and the count is written down. */
  waiting: 10_000,
  /** So many are written without waiting for the time. */
  flushAt: 1_000,
  flushEveryMs: 500,
  /** While all is said it looks so seldom. */
  restMs: 30_000,
  perBatch: 200,
  /** Of a batch as it travels; a message takes 256 KiB. */
  perBatchBytes: 160 * 1024,
  /** Without a link what is written is synced so often: each sync takes two blocks of a card. */
  syncEveryMs: 5_000,
  /** A batch that is not acknowledged by then is said again. */
  repeatAfterMs: 10_000,
} as const;

export interface AuditSettings {
  /** The share, 0 to 1, that is recorded of the requests which were allowed and went well; all others are. */
  readonly allowed: number;
  /** What may wait on the disk for the master; the oldest segment is dropped beyond it. */
  readonly diskBytes: number;
  readonly sync: AuditSync;
}

export const defaultAuditSettings: AuditSettings = { allowed: 1, diskBytes: 64 * 1024 * 1024, sync: 'offline' };

/** Hash-chains the node's access records on its disk and hands them to the master in batches, in order, each until it is acknowledged. */
export interface AuditTrail {
  record(record: AccessRecord): void;
  /** The master has stored everything up to `number`. */
  acknowledge(number: number): void;
  /** Writes and sends until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
  /** After `run`: goes on writing what the proxy still decides until `isOver`, and ends the chain in order. */
  end(isOver: Promise<unknown>): Promise<void>;
}

/** Begins this start's chain on the disk. */
export async function openAuditTrail(
  parts: {
    readonly journal: AuditJournal;
    readonly sender: Sender;
    readonly clock: Pick<NodeClock, 'now' | 'monotonic' | 'after' | 'known'>;
    readonly random: Random;
    readonly log: Log;
    readonly isUp: () => boolean;
    /** Less than a whole batch waits so long for more; not at all when absent. */
    readonly holdMs?: () => number;
  },
  settings: AuditSettings,
): Promise<AuditTrail> {
  const trail = new DiskTrail(parts, settings);
  await trail.begin();
  return trail;
}

type Parts = Parameters<typeof openAuditTrail>[0];

class DiskTrail implements AuditTrail {
  readonly #parts: Parts;
  readonly #settings: AuditSettings;
  readonly #marks: AuditMarks;
  #waiting: AccessRecord[] = [];
  /** Of records that found no room. */
  #dropped = 0;
  #isSynced = true;
  #isFailing = false;
  /** The master has all that was written. */
  #isSaid = false;
  #isResting = false;
  #diskBytes: number;
  #flushAt = 0;
  #sentAt = Number.NEGATIVE_INFINITY;
  /** Of the newest batch, when it was said first. */
  #batchAt = Number.NEGATIVE_INFINITY;
  /** While there is no link. */
  #syncedAt = Number.NEGATIVE_INFINITY;
  #acknowledged: number[] = [];
  /** What is acknowledged when the journal is about to be handed over, the next start is told again. */
  #isHearing = true;
  #wake: () => void = () => {};

  constructor(parts: Parts, settings: AuditSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#marks = new AuditMarks(parts.clock);
    this.#diskBytes = settings.diskBytes;
  }

  async begin(): Promise<void> {
    this.#marks.start(this.#settings.allowed);
    await this.#write(this.#isSyncWanted()).catch(error => this.#warn(error));
  }

  record(record: AccessRecord): void {
    if (this.#settings.allowed < 1 && wentWell(record) && this.#parts.random() >= this.#settings.allowed) return;
    if (this.#waiting.length >= auditBounds.waiting) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(this.#marks.timed(record));
    if (this.#isResting) {
      this.#flushAt = this.#parts.clock.monotonic() + auditBounds.flushEveryMs;
      this.#wake();
    } else if (this.#waiting.length === auditBounds.flushAt) this.#wake();
  }

  acknowledge(number: number): void {
    if (!this.#isHearing) return;
    this.#acknowledged.push(number);
    this.#wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#flush();
      await this.#hear();
      await this.#send();
      await this.#pause(signal);
    }
    this.#isHearing = false;
    await this.#hear();
    await this.#flush({ now: true });
  }

  async end(isOver: Promise<unknown>): Promise<void> {
    const over = new AbortController();
    const stop = () => over.abort();
    const watched = isOver.then(stop, stop);
    await this.#parts.journal.handOver();
    this.#diskBytes = Math.min(this.#diskBytes, journalBounds.lateBytes);
    while (!over.signal.aborted) {
      await this.#pause(over.signal);
      await this.#flush();
    }
    await watched;
    await this.#flush({ now: true });
    if (this.#waiting.length > 0) return;
    this.#marks.end();
    try {
      await this.#write(true);
      await this.#parts.journal.close();
    } catch (error) {
      this.#warn(error);
    }
  }

  /** Writes what waits, when it is time for that. */
  async #flush({ now } = { now: false }): Promise<void> {
    const { journal, clock } = this.#parts;
    const isDue = clock.monotonic() >= this.#flushAt || this.#isFull();
    if (!isDue && !now) return;
    this.#flushAt = clock.monotonic() + auditBounds.flushEveryMs;
    try {
      this.#marks.learnTime();
      for (const missing of await journal.adopt()) this.#marks.miss(missing);
      for (const missing of journal.takeDamage()) this.#marks.miss(missing);
      if (this.#waiting.length + this.#marks.waiting.length + this.#dropped > 0)
        await this.#write(this.#isSyncWanted());
      else if (!this.#isSynced && this.#isSyncWanted()) await this.#sync();
      if (this.#isFailing) this.#parts.log.info('audit records can be written again');
      this.#isFailing = false;
    } catch (error) {
      this.#warn(error);
    }
  }

  async #write(sync: boolean): Promise<void> {
    const { journal } = this.#parts;
    const [records, dropped] = [this.#waiting, this.#dropped];
    this.#waiting = [];
    this.#dropped = 0;
    try {
      const lines = records.map(record => JSON.stringify(record));
      await this.#makeRoom(lines.reduce((sum, line) => sum + line.length, 0));
      const more = dropped === 0 ? [] : [JSON.stringify(this.#marks.lost(dropped))];
      const marks = [...this.#marks.waiting];
      // what a mark tells it tells once: a start or a gap that is not on the medium could be lost without a trace
      this.#isSynced = sync || marks.length > 0;
      if (this.#isSynced) this.#syncedAt = this.#parts.clock.monotonic();
      this.#isSaid = false;
      await journal.append([...marks.map(mark => JSON.stringify(mark)), ...lines, ...more], this.#isSynced);
      this.#marks.written(marks.length);
    } catch (error) {
      const room = auditBounds.waiting - records.length;
      this.#dropped += dropped + Math.max(0, this.#waiting.length - room);
      this.#waiting = [...records, ...this.#waiting.slice(0, room)];
      throw error;
    }
    await journal.sweep();
    await journal.settle();
  }

  /** Drops the oldest until there is room; what that loses is written down first, and the files go after it. */
  async #makeRoom(bytes: number): Promise<void> {
    const { journal, log } = this.#parts;
    while (journal.bytes + bytes > this.#diskBytes) {
      const missing = await journal.dropOldest();
      if (missing === undefined) return;
      for (const each of missing) this.#marks.miss(each);
      const records = missing.at(-1)?.count ?? 0;
      const fields = { records, limitBytes: this.#diskBytes };
      if (records > 0) log.warn('the oldest audit records are dropped: the disk space for them is used up', fields);
    }
  }

  async #sync(): Promise<void> {
    await this.#parts.journal.sync();
    this.#isSynced = true;
    this.#syncedAt = this.#parts.clock.monotonic();
  }

  /** While the link is up the master has them a moment later; while it is down this node alone has them, and a card pays for each sync. */
  #isSyncWanted(): boolean {
    const { sync } = this.#settings;
    if (sync !== 'offline') return sync === 'always';
    const { clock, isUp } = this.#parts;
    return !isUp() && clock.monotonic() - this.#syncedAt >= auditBounds.syncEveryMs;
  }

  async #hear(): Promise<void> {
    for (const number of this.#acknowledged.splice(0)) {
      // said twice it tells nothing of the batch that is under way
      if (await this.#parts.journal.acknowledge(number)) this.#sentAt = Number.NEGATIVE_INFINITY;
    }
  }

  async #send(): Promise<void> {
    const { journal, sender, clock, isUp, holdMs = () => 0 } = this.#parts;
    if (!isUp() || clock.monotonic() - this.#sentAt < auditBounds.repeatAfterMs) return;
    const waiting = await journal.peek();
    this.#isSaid = waiting === undefined;
    if (waiting === undefined) return;
    const entries = firstBatch(waiting.entries);
    // what was not acknowledged is not held a second time
    const isNew = this.#sentAt === Number.NEGATIVE_INFINITY;
    const isHeld = clock.monotonic() - this.#batchAt < holdMs() && entries.length < auditBounds.perBatch;
    if (isNew && isHeld) return;
    if (isNew) this.#batchAt = clock.monotonic();
    this.#sentAt = clock.monotonic();
    const [first, last] = [entries[0], entries.at(-1)];
    if (first === undefined || last === undefined) return;
    const lines = entries.map(({ line }) => line);
    sender.send('audit', { batch: { first: first.number, previous: waiting.previous, head: last.hash, lines } });
  }

  /** Are there so many that writing them does not wait for its time? */
  #isFull(): boolean {
    return this.#waiting.length >= auditBounds.flushAt && !this.#isFailing;
  }

  #hasNothingToDo(): boolean {
    const isWritten = this.#waiting.length + this.#marks.waiting.length + this.#dropped === 0;
    return isWritten && this.#isSaid && !this.#parts.journal.mayAdopt;
  }

  #pause(signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    return new Promise(resolve => {
      this.#isResting = this.#hasNothingToDo();
      const done = () => {
        cancel();
        forget();
        this.#isResting = false;
        this.#wake = () => {};
        resolve();
      };
      const cancel = this.#parts.clock.after(auditBounds[this.#isResting ? 'restMs' : 'flushEveryMs'], done);
      const forget = onAbort(signal, done);
      this.#wake = done;
      if (this.#acknowledged.length > 0 || this.#isFull()) done();
    });
  }

  #warn(error: unknown): void {
    if (!this.#isFailing) this.#parts.log.error('audit records cannot be written', { reason: messageOf(error) });
    this.#isFailing = true;
  }
}

/** As many of the oldest as one message takes, one at least. */
function firstBatch(entries: readonly AuditEntry[]): readonly AuditEntry[] {
  let bytes = 0;
  let count = 0;
  for (const { line } of entries.slice(0, auditBounds.perBatch)) {
    // a line travels as a text within JSON
    bytes += Buffer.byteLength(JSON.stringify(line));
    if (count > 0 && bytes > auditBounds.perBatchBytes) break;
    count++;
  }
  return entries.slice(0, count);
}

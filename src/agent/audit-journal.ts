import { join } from 'node:path';
import { Gate } from '../base/gate.ts';
import type { FileOperations, OpenFile } from '../device/file-operations.ts';
import type { ProcessIdentity } from '../device/process-identity.ts';
import { type AuditGap, chainStart, numbersPerRun, runOf, type Sha256 } from '../model/audit-chain.ts';
import { type AuditEntry, parseSegment, printBlock, printHead } from './audit-segment.ts';

export const journalBounds = {
  /** A segment that is longer is followed by another: the unit of what is dropped, and of what is read at once. */
  segmentBytes: 256 * 1024,
  /** One of which the master has everything is followed already then, and removed. */
  doneBytes: 64 * 1024,
  /** What an agent that has handed over may still write. */
  lateBytes: 4 * 1024 * 1024,
} as const;

/** A block of records may make a segment longer than it should be. */
const maxReadBytes = 32 * 1024 * 1024;

/** What of a gap is known here; the time is the caller's to add. */
export type Missing = Omit<AuditGap, 'mark' | 'at' | 'sinceStartMs'>;

/** The oldest entries that wait, and the hash before them. */
export interface Waiting {
  readonly previous: string;
  readonly entries: readonly AuditEntry[];
}

/**
 * The chain of this start of the agent on its disk, and what earlier ones have left there: segments, which go when the master has
 * acknowledged them. Everything happens one at a time, in order.
 */
export interface AuditJournal {
  /** Chains `lines` behind what is there and writes them, on the medium when it resolves if `sync`; rejects when they cannot be, and nothing is chained. */
  append(lines: readonly string[], sync: boolean): Promise<void>;
  /** Whatever was written goes to the medium now. */
  sync(): Promise<void>;
  /** Of all segments. */
  readonly bytes: number;
  /**
   * Forgets the oldest segment; undefined when there is none but the one that is written to. Returns what that loses: the gaps of which it
   * told, and itself. Its file goes by `sweep`.
   */
  dropOldest(): Promise<readonly Missing[] | undefined>;
  /** Removes the files of dropped and damaged segments: once the gap is written down, so that no loss goes unsaid. */
  sweep(): Promise<void>;
  /** Undefined when the master has everything; what could not be read of a segment is told by `takeDamage`. */
  peek(): Promise<Waiting | undefined>;
  takeDamage(): readonly Missing[];
  /** The master has everything of that run up to `number`; true when that is news. */
  acknowledge(number: number): Promise<boolean>;
  /** Takes over what agents before this one have left, as soon as their process is gone; returns what they may have lost. */
  adopt(): Promise<readonly Missing[]>;
  /** Those returned by `adopt` are written down. */
  settle(): Promise<void>;
  /** From now on another agent sends and removes what is there; this one only writes. */
  handOver(): Promise<void>;
  close(): Promise<void>;
}

interface Segment {
  name: string;
  readonly first: number;
  bytes: number;
  /** The last number in it; not known of what another process wrote, until it is read. */
  last: number | undefined;
  /** Something of it could not be read. */
  isDamaged: boolean;
}

interface Current extends Segment {
  readonly file: OpenFile;
  isNameSynced: boolean;
  /** Something failed while it was written: nobody knows how it ends. */
  isTorn: boolean;
}

export interface JournalParts {
  readonly disk: FileOperations;
  readonly sha256: Sha256;
  readonly owner: ProcessIdentity;
  readonly isAlive: (owner: ProcessIdentity) => Promise<boolean>;
}

export interface JournalSettings {
  readonly directory: string;
  readonly node: string;
  readonly boot: number;
  /** False: it is left to the system when something goes to the medium. */
  readonly maySync: boolean;
}

/** Opens the journal, making its directory where needed; rejects when it cannot be written. */
export async function openAuditJournal(parts: JournalParts, settings: JournalSettings): Promise<AuditJournal> {
  await parts.disk.makeDirectory(settings.directory);
  return new DiskJournal(parts, settings);
}

export const droppedReason = 'the disk space for the audit was used up';

/** One that this program wrote. */
function readGap(line: string): Missing {
  const { mark: _, at: __, sinceStartMs: ___, ...missing }: AuditGap = JSON.parse(line);
  return missing;
}

const namePattern = /^(\d{1,10})-(\d{1,10})\.(open|log)$/;

class DiskJournal implements AuditJournal {
  readonly #parts: JournalParts;
  readonly #settings: JournalSettings;
  readonly #gate = new Gate();
  /** Oldest first; all but the one that is written to. */
  #closed: Segment[] = [];
  #current: Current | undefined;
  #dropped: Segment[] = [];
  /** Of runs that ended without notice, until that is written down. */
  #unsettled: Segment[] = [];
  /** Another process still writes, or nobody has looked yet. */
  #mayAdopt = true;
  #damage: Missing[] = [];
  #head = chainStart;
  #next: number;
  /** The newest number that the master has. */
  #done = -1;
  /** Of the oldest segment: what waits, and the hash before it. */
  #loaded: { readonly segment: Segment; previous: string; readonly entries: AuditEntry[] } | undefined;

  constructor(parts: JournalParts, settings: JournalSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#next = settings.boot * numbersPerRun;
  }

  get bytes(): number {
    return this.#closed.reduce((sum, { bytes }) => sum + bytes, this.#current?.bytes ?? 0);
  }

  append(lines: readonly string[], sync: boolean): Promise<void> {
    return this.#gate.run(async () => {
      const current = await this.#roomy();
      const entries: AuditEntry[] = [];
      let hash = this.#head;
      for (const line of lines) {
        hash = this.#parts.sha256(`${hash}\n${line}`);
        entries.push({ number: this.#next + entries.length, line, hash });
      }
      const block = Buffer.from(printBlock(entries));
      current.isTorn = true;
      await current.file.write(block);
      if (sync) await this.#sync(current);
      current.isTorn = false;
      current.bytes += block.length;
      this.#head = hash;
      this.#next += entries.length;
      current.last = this.#next - 1;
      if (this.#loaded?.segment === current) this.#loaded.entries.push(...entries);
    });
  }

  sync(): Promise<void> {
    return this.#gate.run(async () => {
      if (this.#current?.isTorn === false) await this.#sync(this.#current);
    });
  }

  dropOldest(): Promise<readonly Missing[] | undefined> {
    return this.#gate.run(async () => {
      const oldest = this.#closed[0];
      if (oldest === undefined) return undefined;
      const { entries } = await this.#load(oldest);
      this.#forget(oldest);
      this.#dropped.push(oldest);
      const [first, last] = [entries[0]?.number, entries.at(-1)?.number];
      const damage = this.#damage.splice(0);
      if (first === undefined || last === undefined) return damage;
      const told = entries.flatMap(({ line }) => (line.startsWith('{"mark":"gap"') ? [readGap(line)] : []));
      return [...damage, ...told, { reason: droppedReason, first, last, count: entries.length }];
    });
  }

  sweep(): Promise<void> {
    return this.#gate.run(async () => {
      for (const segment of this.#dropped.splice(0)) await this.#unlink(segment);
    });
  }

  peek(): Promise<Waiting | undefined> {
    return this.#gate.run(async () => {
      for (;;) {
        const segment = this.#closed[0] ?? this.#current;
        if (segment === undefined) return undefined;
        const { entries, previous } = await this.#load(segment);
        if (entries.length > 0) return { previous, entries };
        if (segment === this.#current) return undefined;
        await this.#remove(segment);
      }
    });
  }

  takeDamage(): readonly Missing[] {
    return this.#damage.splice(0);
  }

  acknowledge(number: number): Promise<boolean> {
    return this.#gate.run(async () => {
      const loaded = this.#loaded;
      const oldest = loaded?.entries[0]?.number;
      if (loaded === undefined || oldest === undefined) return false;
      if (runOf(oldest) !== runOf(number) || number < oldest) return false;
      const done = loaded.entries.splice(0, number - oldest + 1);
      loaded.previous = done.at(-1)?.hash ?? loaded.previous;
      this.#done = Math.max(this.#done, done.at(-1)?.number ?? 0);
      if (loaded.entries.length === 0 && loaded.segment !== this.#current) await this.#remove(loaded.segment);
      return true;
    });
  }

  adopt(): Promise<readonly Missing[]> {
    return this.#gate.run(async () => {
      if (!this.#mayAdopt) return [];
      const missing: Missing[] = [];
      const known = new Set([...this.#closed, ...this.#dropped].map(({ name }) => name));
      const found = (await this.#list()).filter(({ name }) => !known.has(name));
      this.#mayAdopt = false;
      for (const [i, segment] of found.entries()) {
        if (segment.name.endsWith('.open')) {
          const next = found[i + 1];
          const isNewest = next === undefined || runOf(next.first) !== runOf(segment.first);
          const content = parseSegment(await this.#read(segment), this.#parts.sha256);
          if (isNewest && content !== undefined && (await this.#isWritten(content.head.owner))) {
            this.#mayAdopt = true;
            continue;
          }
          if (isNewest) {
            const from = segment.first + (content?.entries.length ?? 0);
            segment.last = from - 1;
            missing.push({ reason: 'the agent ended without notice', first: from, last: null, count: null });
          }
          this.#unsettled.push(segment);
        }
        this.#closed.push(segment);
      }
      this.#closed.sort((a, b) => a.first - b.first);
      return missing;
    });
  }

  settle(): Promise<void> {
    return this.#gate.run(async () => {
      for (const segment of this.#unsettled.splice(0)) {
        if (this.#closed.includes(segment)) await this.#end(segment);
      }
    });
  }

  handOver(): Promise<void> {
    return this.#gate.run(async () => {
      this.#closed = [];
      this.#loaded = undefined;
      this.#mayAdopt = false;
    });
  }

  close(): Promise<void> {
    return this.#gate.run(async () => {
      const last = this.#current;
      this.#current = undefined;
      if (last === undefined) return;
      if (!last.isTorn) await this.#sync(last);
      await last.file.close();
      if (!last.isTorn) await this.#end(last);
    });
  }

  /** The segment to write to. */
  async #roomy(): Promise<Current> {
    const current = this.#current;
    if (current === undefined || current.isTorn) return this.#turn();
    const isDone = this.#loaded?.segment === current && this.#loaded.entries.length === 0;
    const { segmentBytes, doneBytes } = journalBounds;
    return current.bytes >= (isDone ? doneBytes : segmentBytes) ? this.#turn() : current;
  }

  /** Begins a segment before it ends the one before: a run of which none is open has ended in order. */
  async #turn(): Promise<Current> {
    const before = this.#current;
    const first = this.#next;
    const name = `${runOf(first)}-${first % numbersPerRun}.open`;
    const file = await this.#parts.disk.create(this.#path(name));
    const { node } = this.#settings;
    const head = Buffer.from(printHead({ v: 1, node, first, previous: this.#head, owner: this.#parts.owner }));
    const bytes = head.length;
    const next: Current = {
      name,
      first,
      last: undefined,
      bytes,
      file,
      isNameSynced: false,
      isTorn: false,
      isDamaged: false,
    };
    try {
      await file.write(head);
    } catch (cause) {
      await file.close();
      throw cause;
    }
    this.#current = next;
    if (before !== undefined) await this.#finish(before, next);
    return next;
  }

  /** However it fails, what the segment holds waits for the master. */
  async #finish(before: Current, next: Current): Promise<void> {
    const isRead = this.#loaded?.segment === before;
    if (before.name === next.name) {
      if (isRead) this.#loaded = undefined;
    } else this.#closed.push(before);
    try {
      if (!before.isTorn) await this.#sync(before);
      await before.file.close();
      if (before.name === next.name) return;
      if (isRead && this.#loaded?.entries.length === 0) await this.#remove(before);
      else await this.#end(before);
    } catch {
      // it keeps the name of an open one, and another is open: that is as good
    }
  }

  async #sync(current: Current): Promise<void> {
    if (!this.#settings.maySync) return;
    await current.file.sync();
    if (!current.isNameSynced) await this.#parts.disk.syncDirectory(this.#settings.directory);
    current.isNameSynced = true;
  }

  /** Nobody writes to it any more. */
  async #end(segment: Segment): Promise<void> {
    const name = segment.name.replace(/open$/, 'log');
    await this.#parts.disk.rename(this.#path(segment.name), this.#path(name));
    segment.name = name;
  }

  async #load(segment: Segment) {
    if (this.#loaded?.segment === segment) return this.#loaded;
    const content = parseSegment(await this.#read(segment), this.#parts.sha256);
    const isOurs = content === undefined || content.head.node === this.#settings.node;
    const last = segment === this.#current ? this.#next - 1 : (segment.last ?? this.#lastBefore(segment));
    const read = isOurs ? (content?.entries ?? []) : [];
    const entries = read.filter(({ number }) => last === undefined || number <= last);
    const from = segment.first + entries.length;
    const isWhole = last === undefined ? content?.isWhole === true : from > last;
    if (!isWhole || !isOurs) {
      const reason = isOurs ? 'the disk has damaged them' : `they are of the node ${content?.head.node}`;
      const count = last === undefined ? null : last - from + 1;
      segment.isDamaged = true;
      this.#damage.push({ reason, first: from, last: last ?? null, count });
    }
    // of an older run the master has nothing, or it was told so in another start
    const done = segment === this.#current ? entries.filter(({ number }) => number <= this.#done) : [];
    const previous = done.at(-1)?.hash ?? content?.head.previous ?? chainStart;
    this.#loaded = { segment, previous, entries: entries.slice(done.length) };
    return this.#loaded;
  }

  /** By the segment that follows it in its run. */
  #lastBefore({ first }: Segment): number | undefined {
    const later = [...this.#closed, ...(this.#current ? [this.#current] : [])].filter(each => each.first > first);
    const next = later[0];
    return next !== undefined && runOf(next.first) === runOf(first) ? next.first - 1 : undefined;
  }

  async #list(): Promise<Segment[]> {
    const segments: Segment[] = [];
    for (const name of await this.#parts.disk.list(this.#settings.directory)) {
      const [, run, index] = namePattern.exec(name) ?? [];
      if (run === undefined || Number(run) === this.#settings.boot) continue;
      const bytes = await this.#parts.disk.size(this.#path(name));
      segments.push({
        name,
        first: Number(run) * numbersPerRun + Number(index),
        bytes,
        last: undefined,
        isDamaged: false,
      });
    }
    return segments.sort((a, b) => a.first - b.first);
  }

  /** Is there a process that writes it? Another agent of this one has ended. */
  async #isWritten(owner: ProcessIdentity): Promise<boolean> {
    const { pid, boot, start } = this.#parts.owner;
    const isOwn = owner.pid === pid && owner.boot === boot && owner.start === start;
    return !isOwn && (await this.#parts.isAlive(owner));
  }

  async #read({ name }: Segment): Promise<Buffer> {
    try {
      return await this.#parts.disk.read(this.#path(name), maxReadBytes);
    } catch {
      // gone, or on blocks that cannot be read: the numbers tell what it held
      return Buffer.alloc(0);
    }
  }

  #forget(segment: Segment): void {
    this.#closed = this.#closed.filter(each => each !== segment);
    if (this.#loaded?.segment === segment) this.#loaded = undefined;
  }

  async #remove(segment: Segment): Promise<void> {
    this.#forget(segment);
    // what is missing of it is written down first
    if (segment.isDamaged) this.#dropped.push(segment);
    else await this.#unlink(segment);
  }

  async #unlink(segment: Segment): Promise<void> {
    // the one that is gone already was another's to remove; one that stays is sent again after the next start
    await this.#parts.disk.remove(this.#path(segment.name)).catch(() => undefined);
  }

  #path(name: string): string {
    return join(this.#settings.directory, name);
  }
}

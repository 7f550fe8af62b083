import { type AuditGap, chainStart, runOf, type Sha256 } from '../model/audit-chain.ts';
import type { AuditFiles, CurrentSegment, Segment } from './audit-files.ts';
import { type AuditEntry, parseSegment } from './audit-segment.ts';
import type { AuditWriter } from './audit-writer.ts';

/** What of a gap is known here; the time is the caller's to add. */
export type Missing = Omit<AuditGap, 'mark' | 'at' | 'sinceStartMs'>;

/** The oldest entries that wait, and the hash before them. */
export interface Waiting {
  readonly previous: string;
  readonly entries: readonly AuditEntry[];
}

export const droppedReason = 'the disk space for the audit was used up';

/** One that this program wrote. */
function readGap(line: string): Missing {
  const { mark: _, at: __, sinceStartMs: ___, ...missing }: AuditGap = JSON.parse(line);
  return missing;
}

interface Loaded {
  readonly segment: Segment;
  previous: string;
  readonly entries: AuditEntry[];
}

interface BacklogParts {
  readonly files: AuditFiles;
  readonly sha256: Sha256;
  readonly writer: Pick<AuditWriter, 'current' | 'next'>;
}

/** What the master does not have yet: segments, oldest first, and behind them the one that is written to. */
export class AuditBacklog {
  readonly #parts: BacklogParts;
  readonly #node: string;
  /** All but the one that is written to. */
  #closed: Segment[] = [];
  #dropped: Segment[] = [];
  #damage: Missing[] = [];
  /** The newest number that the master has. */
  #done = -1;
  /** Of the oldest segment: what waits, and the hash before it. */
  #loaded: Loaded | undefined;

  constructor(parts: BacklogParts, node: string) {
    this.#parts = parts;
    this.#node = node;
  }

  /** Of all segments, the one that is written to among them. */
  get bytes(): number {
    return this.#closed.reduce((sum, { bytes }) => sum + bytes, this.#parts.writer.current?.bytes ?? 0);
  }

  /** Those whose files are there, dropped ones too. */
  get names(): ReadonlySet<string> {
    return new Set([...this.#closed, ...this.#dropped].map(({ name }) => name));
  }

  has(segment: Segment): boolean {
    return this.#closed.includes(segment);
  }

  /** Has the master all of it, as far as is known? */
  isDone(segment: Segment): boolean {
    return this.#loaded?.segment === segment && this.#loaded.entries.length === 0;
  }

  add(segments: readonly Segment[]): void {
    this.#closed = [...this.#closed, ...segments].sort((a, b) => a.first - b.first);
  }

  /** They were written behind what is in `segment`. */
  grow(segment: Segment, entries: readonly AuditEntry[]): void {
    if (this.#loaded?.segment === segment) this.#loaded.entries.push(...entries);
  }

  /** `next` is written to instead of `before`. However it fails to end that, what the segment holds waits for the master. */
  async finish(before: CurrentSegment, next: CurrentSegment): Promise<void> {
    const { files } = this.#parts;
    const isRewritten = before.name === next.name;
    if (!isRewritten) this.#closed.push(before);
    else if (this.#loaded?.segment === before) this.#loaded = undefined;
    try {
      if (!before.isTorn) await files.sync(before);
      await before.file.close();
      if (isRewritten) return;
      if (this.isDone(before)) await this.#remove(before);
      else await files.end(before);
    } catch {
      // it keeps the name of an open one, and another is open: that is as good
    }
  }

  async peek(): Promise<Waiting | undefined> {
    for (;;) {
      const segment = this.#closed[0] ?? this.#parts.writer.current;
      if (segment === undefined) return undefined;
      const { entries, previous } = await this.#load(segment);
      if (entries.length > 0) return { previous, entries };
      if (segment === this.#parts.writer.current) return undefined;
      await this.#remove(segment);
    }
  }

  /** The master has everything of that run up to `number`; true when that is news. */
  async acknowledge(number: number): Promise<boolean> {
    const loaded = this.#loaded;
    const oldest = loaded?.entries[0]?.number;
    if (loaded === undefined || oldest === undefined) return false;
    if (runOf(oldest) !== runOf(number) || number < oldest) return false;
    const done = loaded.entries.splice(0, number - oldest + 1);
    loaded.previous = done.at(-1)?.hash ?? loaded.previous;
    this.#done = Math.max(this.#done, done.at(-1)?.number ?? 0);
    if (loaded.entries.length === 0 && loaded.segment !== this.#parts.writer.current) {
      await this.#remove(loaded.segment);
    }
    return true;
  }

  async dropOldest(): Promise<readonly Missing[] | undefined> {
    const oldest = this.#closed[0];
    if (oldest === undefined) return undefined;
    const { entries } = await this.#load(oldest);
    this.#forget(oldest);
    this.#dropped.push(oldest);
    const [first, last] = [entries[0]?.number, entries.at(-1)?.number];
    const damage = this.takeDamage();
    if (first === undefined || last === undefined) return damage;
    const told = entries.flatMap(({ line }) => (line.startsWith('{"mark":"gap"') ? [readGap(line)] : []));
    return [...damage, ...told, { reason: droppedReason, first, last, count: entries.length }];
  }

  async sweep(): Promise<void> {
    for (const segment of this.#dropped.splice(0)) await this.#parts.files.remove(segment);
  }

  takeDamage(): readonly Missing[] {
    return this.#damage.splice(0);
  }

  /** They are another's from now on. */
  leave(): void {
    this.#closed = [];
    this.#loaded = undefined;
  }

  async #load(segment: Segment): Promise<Loaded> {
    if (this.#loaded?.segment === segment) return this.#loaded;
    const { files, sha256, writer } = this.#parts;
    const content = parseSegment(await files.read(segment), sha256);
    const isCurrent = segment === writer.current;
    const isOurs = content === undefined || content.head.node === this.#node;
    const last = isCurrent ? writer.next - 1 : (segment.last ?? this.#lastBefore(segment));
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
    const done = isCurrent ? entries.filter(({ number }) => number <= this.#done) : [];
    const previous = done.at(-1)?.hash ?? content?.head.previous ?? chainStart;
    this.#loaded = { segment, previous, entries: entries.slice(done.length) };
    return this.#loaded;
  }

  /** By the segment that follows it in its run. */
  #lastBefore({ first }: Segment): number | undefined {
    const { current } = this.#parts.writer;
    const next = [...this.#closed, ...(current ? [current] : [])].find(each => each.first > first);
    return next !== undefined && runOf(next.first) === runOf(first) ? next.first - 1 : undefined;
  }

  #forget(segment: Segment): void {
    this.#closed = this.#closed.filter(each => each !== segment);
    if (this.#loaded?.segment === segment) this.#loaded = undefined;
  }

  async #remove(segment: Segment): Promise<void> {
    this.#forget(segment);
    // what is missing of it is written down first
    if (segment.isDamaged) this.#dropped.push(segment);
    else await this.#parts.files.remove(segment);
  }
}

import type { ProcessIdentity } from '../device/process-identity.ts';
import { chainStart, numbersPerRun, type Sha256 } from '../model/audit-chain.ts';
import type { AuditFiles, CurrentSegment } from './audit-files.ts';
import { type AuditEntry, printBlock } from './audit-segment.ts';

interface WriterParts {
  readonly files: AuditFiles;
  readonly sha256: Sha256;
  readonly owner: ProcessIdentity;
}

/** The chain of this start of the agent, as far as it is written: what is chained next, behind which hash, in which segment. */
export class AuditWriter {
  readonly #parts: WriterParts;
  readonly #node: string;
  #current: CurrentSegment | undefined;
  #head = chainStart;
  #next: number;

  constructor(parts: WriterParts, { node, boot }: { readonly node: string; readonly boot: number }) {
    this.#parts = parts;
    this.#node = node;
    this.#next = boot * numbersPerRun;
  }

  /** Undefined before the first is begun, and at the end. */
  get current(): CurrentSegment | undefined {
    return this.#current;
  }

  /** The number that the next entry gets. */
  get next(): number {
    return this.#next;
  }

  /** Begins a segment, before the one before it is ended: a run of which none is open has ended in order. */
  async turn(): Promise<CurrentSegment> {
    const { files, owner } = this.#parts;
    this.#current = await files.create({ v: 1, node: this.#node, first: this.#next, previous: this.#head, owner });
    return this.#current;
  }

  /** Chains `lines` in `current`; where it cannot be written, or synced, nothing is chained and the segment is torn. */
  async append(current: CurrentSegment, lines: readonly string[], sync: boolean): Promise<readonly AuditEntry[]> {
    const { files, sha256 } = this.#parts;
    const entries: AuditEntry[] = [];
    let hash = this.#head;
    for (const line of lines) {
      hash = sha256(`${hash}\n${line}`);
      entries.push({ number: this.#next + entries.length, line, hash });
    }
    const block = Buffer.from(printBlock(entries));
    current.isTorn = true;
    await current.file.write(block);
    if (sync) await files.sync(current);
    current.isTorn = false;
    current.bytes += block.length;
    this.#head = hash;
    this.#next += entries.length;
    current.last = this.#next - 1;
    return entries;
  }

  async sync(): Promise<void> {
    if (this.#current?.isTorn === false) await this.#parts.files.sync(this.#current);
  }

  /** Ends the chain in order, as far as what was written is whole. */
  async close(): Promise<void> {
    const { files } = this.#parts;
    const last = this.#current;
    this.#current = undefined;
    if (last === undefined) return;
    if (!last.isTorn) await files.sync(last);
    await last.file.close();
    if (!last.isTorn) await files.end(last);
  }
}

import { join } from 'node:path';
import type { FileOperations, OpenFile } from '../device/file-operations.ts';
import { numbersPerRun, runOf } from '../model/audit-chain.ts';
import { printHead, type SegmentHead } from './audit-segment.ts';

/** A part of the chain of one start of an agent, in a file. */
export interface Segment {
  /** `<run>-<index of its first entry>.open` while it is written to, `.log` when it has ended in order. */
  name: string;
  readonly first: number;
  bytes: number;
  /** The last number in it; not known of what another process wrote, until it is read. */
  last: number | undefined;
  /** Something of it could not be read. */
  isDamaged: boolean;
}

/** The one that is written to. */
export interface CurrentSegment extends Segment {
  readonly file: OpenFile;
  isNameSynced: boolean;
  /** Something failed while it was written: nobody knows how it ends. */
  isTorn: boolean;
}

const namePattern = /^(\d{1,10})-(\d{1,10})\.(open|log)$/;
/** A block of records may make a segment longer than it should be. */
const maxReadBytes = 32 * 1024 * 1024;

/** The journal's directory. */
export class AuditFiles {
  readonly #disk: FileOperations;
  readonly #directory: string;
  readonly #maySync: boolean;

  constructor(disk: FileOperations, settings: { readonly directory: string; readonly maySync: boolean }) {
    this.#disk = disk;
    this.#directory = settings.directory;
    this.#maySync = settings.maySync;
  }

  /** What other starts than `boot` have left, oldest first. */
  async list(boot: number): Promise<Segment[]> {
    const segments: Segment[] = [];
    for (const name of await this.#disk.list(this.#directory)) {
      const [, run, index] = namePattern.exec(name) ?? [];
      if (run === undefined || Number(run) === boot) continue;
      const bytes = await this.#disk.size(this.#path(name));
      const first = Number(run) * numbersPerRun + Number(index);
      segments.push({ name, first, bytes, last: undefined, isDamaged: false });
    }
    return segments.sort((a, b) => a.first - b.first);
  }

  /** Rejects when it cannot be written. */
  async create(head: SegmentHead): Promise<CurrentSegment> {
    const { first } = head;
    const name = `${runOf(first)}-${first % numbersPerRun}.open`;
    const file = await this.#disk.create(this.#path(name));
    const bytes = Buffer.from(printHead(head));
    try {
      await file.write(bytes);
    } catch (cause) {
      await file.close();
      throw cause;
    }
    const isWhole = { isDamaged: false, isNameSynced: false, isTorn: false };
    return { name, first, last: undefined, bytes: bytes.length, file, ...isWhole };
  }

  async read({ name }: Segment): Promise<Buffer> {
    try {
      return await this.#disk.read(this.#path(name), maxReadBytes);
    } catch {
      // gone, or on blocks that cannot be read: the numbers tell what it held
      return Buffer.alloc(0);
    }
  }

  /** To the medium, with its name. */
  async sync(segment: CurrentSegment): Promise<void> {
    if (!this.#maySync) return;
    await segment.file.sync();
    if (!segment.isNameSynced) await this.#disk.syncDirectory(this.#directory);
    segment.isNameSynced = true;
  }

  /** Nobody writes to it any more. */
  async end(segment: Segment): Promise<void> {
    const name = segment.name.replace(/open$/, 'log');
    await this.#disk.rename(this.#path(segment.name), this.#path(name));
    segment.name = name;
  }

  async remove({ name }: Segment): Promise<void> {
    // the one that is gone already was another's to remove; one that stays is sent again after the next start
    await this.#disk.remove(this.#path(name)).catch(() => undefined);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }
}

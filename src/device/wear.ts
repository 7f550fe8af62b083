import { dirname } from 'node:path';
import type { FileOperations, OpenFile } from './file-operations.ts';

/** What a file system writes at least; ext4's default and a page of most boards. */
export const blockBytes = 4096;

/** So much of a medium it takes to write `bytes` for good: whole blocks, and one for the file's inode. */
export function syncedBytes(bytes: number): number {
  return (Math.ceil(bytes / blockBytes) + 1) * blockBytes;
}

/** Linux writes what is not synced when it is so old, for all files together. */
export const writebackMs = 30_000;

/** Counts what is appended to one file and never synced: each time the system writes it that takes the block it ends in and the inode, too. */
export class AppendedBytes {
  readonly #onWritten: (bytes: number) => void;
  #waiting = 0;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(onWritten: (bytes: number) => void) {
    this.#onWritten = onWritten;
  }

  /** The file has grown, or somebody looked; `now` is monotonic. */
  grew(bytes: number, now: number): void {
    this.#waiting += bytes;
    if (this.#waiting === 0 || now - this.#countedAt < writebackMs) return;
    this.#countedAt = now;
    this.end();
  }

  /** Has it grown by what is not told yet? */
  get isWaiting(): boolean {
    return this.#waiting > 0;
  }

  /** Nobody looks any more. */
  end(): void {
    if (this.#waiting > 0) this.#onWritten(this.#waiting + 2 * blockBytes);
    this.#waiting = 0;
  }
}

/**
 * The same operations, which tell what they write to the medium: bytes that the system may write when it likes as they are, for they come
 * together with others; a sync makes whole blocks of them, and names that are synced take a block.
 */
export function countedOperations(
  disk: FileOperations,
  onWritten: (path: string, bytes: number) => void,
): FileOperations {
  /** Whose name is synced. */
  let last = '';
  return {
    ...disk,
    async create(path) {
      last = path;
      return counted(await disk.create(path), bytes => onWritten(path, bytes));
    },
    async syncDirectory(path) {
      await disk.syncDirectory(path);
      onWritten(dirname(last) === path ? last : path, blockBytes);
    },
  };
}

function counted(file: OpenFile, onWritten: (bytes: number) => void): OpenFile {
  let unsynced = 0;
  return {
    async write(bytes) {
      await file.write(bytes);
      unsynced += bytes.length;
      onWritten(bytes.length);
    },
    async sync() {
      await file.sync();
      if (unsynced > 0) onWritten(syncedBytes(unsynced) - unsynced);
      unsynced = 0;
    },
    close: () => file.close(),
  };
}

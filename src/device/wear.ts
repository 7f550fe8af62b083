import { dirname } from 'node:path';
import type { FileOperations, OpenFile } from './file-operations.ts';

/** What a file system writes at least; ext4's default and a page of most boards. */
export const blockBytes = 4096;

/** So much of a medium it takes to write `bytes` for good: whole blocks, and one for the file's inode. */
export function syncedBytes(bytes: number): number {
  return (Math.ceil(bytes / blockBytes) + 1) * blockBytes;
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

import { statfs } from 'node:fs/promises';

export interface DiskFacts {
  readonly usedMb: number;
  /** What a user without privileges can still write. */
  readonly freeMb: number;
}

const bytesPerMb = 1024 * 1024;

/** The file system of a directory: one system call, where `systeminformation`'s `fsSize` starts `df`. Undefined when it cannot be read. */
export async function readDisk(directory: string): Promise<DiskFacts | undefined> {
  try {
    const { bsize, blocks, bfree, bavail } = await statfs(directory);
    return { usedMb: ((blocks - bfree) * bsize) / bytesPerMb, freeMb: (bavail * bsize) / bytesPerMb };
  } catch {
    return undefined;
  }
}

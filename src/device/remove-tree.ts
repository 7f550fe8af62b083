import { chmod, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from './file-errors.ts';

/**
 * Removes a directory with all that is in it, there or not. Some programs take from their directories the right to write there, as Go's cache of
 * modules does: of an agent that is not root they are its own, and it takes the right again.
 */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (cause) {
    // root needs no right, and must not be led elsewhere by a link that somebody puts there meanwhile
    if (codeOf(cause) !== 'EACCES' || process.getuid?.() === 0) throw cause;
    await makeWritable(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function makeWritable(directory: string): Promise<void> {
  await chmod(directory, 0o700);
  for (const entry of await readdir(directory, { withFileTypes: true }))
    if (entry.isDirectory()) await makeWritable(join(directory, entry.name));
}

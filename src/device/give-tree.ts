import { lchown, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lowered } from './privileges.ts';

/**
 * Makes a directory with all that is in it somebody's; what a link leads to stays whose it is. A directory is given last: until then its new
 * owner can put no link in the place of one that is still to be gone through.
 */
export async function giveTree(path: string, owner: NonNullable<Lowered['owner']>): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(path, entry.name);
    await (entry.isDirectory() ? giveTree(inside, owner) : lchown(inside, owner.uid, owner.gid));
  }
  await lchown(path, owner.uid, owner.gid);
}

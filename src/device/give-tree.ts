import { lchown, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Lowered } from './privileges.ts';

/** Makes a directory with all that is in it somebody's; what a link leads to stays whose it is. */
export async function giveTree(path: string, owner: NonNullable<Lowered['owner']>): Promise<void> {
  await lchown(path, owner.uid, owner.gid);
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inside = join(path, entry.name);
    await (entry.isDirectory() ? giveTree(inside, owner) : lchown(inside, owner.uid, owner.gid));
  }
}

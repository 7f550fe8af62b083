import { lstat, mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../device/file-operations.ts';
import { sandboxName } from '../device/process.ts';
import { removeTree } from '../device/remove-tree.ts';
import { unfinishedSandbox } from './artifacts.ts';

/** The output of so many ended tasks is kept, the newest, and of no more than take so much of the disk; older ones are removed. */
export const retiredBounds = { tasks: 200, bytes: 256 * 1024 * 1024 } as const;

/** Where tasks live on the disk: `tasks/<id>` while the node has them, `ended/<id>` with their output after that. */
export interface TaskDirectories {
  of(task: string): string;
  /** Removes what a task worked with and keeps what it said. */
  retire(task: string): Promise<void>;
  /** Tasks that have a directory. */
  list(): Promise<string[]>;
  /** Where the output of a task is, present or ended; undefined when the node has none. */
  findOutput(task: string): Promise<string | undefined>;
  /** Removes the oldest output of ended tasks until that gives `bytes`; returns how many it gave. */
  makeRoom(bytes: number): Promise<number>;
}

export async function openTaskDirectories(
  dataDirectory: string,
  bounds: { readonly tasks: number; readonly bytes: number } = retiredBounds,
): Promise<TaskDirectories> {
  const present = join(dataDirectory, 'tasks');
  const ended = join(dataDirectory, 'ended');
  for (const directory of [present, ended]) await mkdir(directory, { recursive: true, mode: 0o700 });
  /** The bytes of each, the oldest first. */
  const retired = new Map<string, number>();
  const found = await Promise.all(
    (await readdir(ended)).map(async name => ({ name, at: (await lstat(join(ended, name))).mtimeMs })),
  );
  for (const { name } of found.sort((a, b) => a.at - b.at)) retired.set(name, await sizeOf(join(ended, name)));

  const total = () => [...retired.values()].reduce((sum, bytes) => sum + bytes, 0);

  async function removeOldest(): Promise<number> {
    const [oldest] = retired;
    if (oldest === undefined) return 0;
    const [name, bytes] = oldest;
    retired.delete(name);
    await removeTree(join(ended, name));
    return bytes;
  }

  return {
    of: task => `${present}/${task}`,
    async retire(task) {
      const [from, to] = [join(present, task), join(ended, task)];
      if (!(await exists(from))) return;
      for (const name of [sandboxName, unfinishedSandbox]) await removeTree(join(from, name));
      // first, so that nobody who needs room removes the newer one in its place
      retired.delete(task);
      await removeTree(to);
      await rename(from, to);
      retired.set(task, await sizeOf(to));
      while (retired.size > bounds.tasks || (retired.size > 1 && total() > bounds.bytes)) await removeOldest();
    },
    list: () => readdir(present),
    async findOutput(task) {
      for (const directory of [join(present, task), join(ended, task)]) if (await exists(directory)) return directory;
      return undefined;
    },
    async makeRoom(bytes) {
      let given = 0;
      while (given < bytes && retired.size > 0) given += await removeOldest();
      return given;
    },
  };
}

/** What the files of a directory have, without those below it; what cannot be looked at, as a link of a task's to nothing, keeps no agent from its start. */
async function sizeOf(directory: string): Promise<number> {
  const names = await readdir(directory).catch(() => []);
  const sizes = names.map(name =>
    lstat(join(directory, name))
      .then(({ size }) => size)
      .catch(() => 0),
  );
  return (await Promise.all(sizes)).reduce((sum, bytes) => sum + bytes, 0);
}

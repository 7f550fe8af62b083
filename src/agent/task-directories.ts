import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { exists } from '../device/file-operations.ts';
import { sandboxName } from '../device/process.ts';
import { unfinishedSandbox } from './artifacts.ts';

/** The output of so many ended tasks is kept, the newest; older ones are removed. */
export const maxRetired = 200;

/** Where tasks live on the disk: `tasks/<id>` while the node has them, `ended/<id>` with their output after that. */
export interface TaskDirectories {
  of(task: string): string;
  /** Removes what a task worked with and keeps what it said. */
  retire(task: string): Promise<void>;
  /** Tasks that have a directory. */
  list(): Promise<string[]>;
  /** Where the output of a task is, present or ended; undefined when the node has none. */
  findOutput(task: string): Promise<string | undefined>;
}

export async function openTaskDirectories(dataDirectory: string): Promise<TaskDirectories> {
  const present = join(dataDirectory, 'tasks');
  const ended = join(dataDirectory, 'ended');
  for (const directory of [present, ended]) await mkdir(directory, { recursive: true, mode: 0o700 });

  async function prune(): Promise<void> {
    const names = await readdir(ended);
    if (names.length <= maxRetired) return;
    const aged = await Promise.all(names.map(async name => ({ name, at: (await stat(join(ended, name))).mtimeMs })));
    aged.sort((a, b) => b.at - a.at);
    for (const { name } of aged.slice(maxRetired)) await rm(join(ended, name), { recursive: true, force: true });
  }

  return {
    of: task => join(present, task),
    async retire(task) {
      const from = join(present, task);
      if (!(await exists(from))) return;
      for (const name of [sandboxName, unfinishedSandbox]) await rm(join(from, name), { recursive: true, force: true });
      await rm(join(ended, task), { recursive: true, force: true });
      await rename(from, join(ended, task));
      await prune();
    },
    list: () => readdir(present),
    async findOutput(task) {
      for (const directory of [join(present, task), join(ended, task)]) if (await exists(directory)) return directory;
      return undefined;
    },
  };
}

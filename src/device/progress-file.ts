import { constants, lstatSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Progress } from '../model/task.ts';

/** Where a task tells how far it is, in the directory it works in: `40`, `40%` or `40 resizing`; the last whole line counts. */
export const progressName = '.progress';

export const progressBounds = { lineBytes: 1_024, messageLength: 160 } as const;

/** What the file said, and by which its next change is seen. */
export interface SeenProgress {
  readonly mtimeMs: number;
  readonly size: number;
  /** Undefined where its last line is none. */
  readonly progress: Progress | undefined;
}

/** What a task says of itself; `before` as it is when the file has not changed since, undefined when there is none. */
export async function readProgress(sandbox: string, before?: SeenProgress): Promise<SeenProgress | undefined> {
  const path = `${sandbox}/${progressName}`;
  try {
    // most tasks have none, and it is asked with each heartbeat: the kernel answers from memory, where the thread pool costs two wakes
    const seen = lstatSync(path, { throwIfNoEntry: false });
    if (seen?.isFile() !== true) return undefined;
    if (before?.mtimeMs === seen.mtimeMs && before.size === seen.size) return before;
    // a task may have put a pipe or a link in its place
    const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
    const file = await open(path, flags);
    try {
      const stat = await file.stat();
      const { mtimeMs, size } = stat;
      if (!stat.isFile()) return undefined;
      const length = Math.min(size, progressBounds.lineBytes);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
      return { mtimeMs, size, progress: parseProgress(buffer.toString('utf8', 0, bytesRead)) ?? before?.progress };
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

/** A new run begins at nothing. */
export async function clearProgress(sandbox: string): Promise<void> {
  await rm(join(sandbox, progressName), { force: true, recursive: true });
}

/** The last line that ends, or the only one: a line that is being written does not count. */
export function parseProgress(text: string): Progress | undefined {
  const lines = text.split('\n');
  const last = lines.length === 1 ? lines[0] : lines.slice(0, -1).findLast(line => line.trim() !== '');
  const match = /^\s*(\d{1,3}(?:\.\d{1,6})?)\s*%?(?:\s+(.*))?$/.exec(last ?? '');
  const percent = Number(match?.[1]);
  if (match === null || percent > 100) return undefined;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal would take them for commands
  const message = (match[2] ?? '').replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ').trim();
  return { percent, ...(message !== '' && { message: message.slice(0, progressBounds.messageLength) }) };
}

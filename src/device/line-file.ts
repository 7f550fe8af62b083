import { type FileHandle, open, rename } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { AppendedBytes } from './wear.ts';

export const lineFileBounds = {
  /** A file that is longer is renamed to `<file>.1`, in the place of the one before. */
  fileBytes: 10 * 1024 * 1024,
  /** Lines that wait for the disk; the next ones are dropped. */
  waitingBytes: 1024 * 1024,
  flushEveryMs: 1_000,
} as const;

/** A file of lines that grows to a bound: written in batches, so that a flash card is not written to for every line. */
export interface LineFile {
  /** False when the disk is behind and the line was dropped. */
  write(line: string): boolean;
  /** Writes what waits until `signal` aborts, and the rest then. */
  run(signal: AbortSignal): Promise<void>;
}

/** Opens `path` for appending; throws START_FAILED when it cannot be written. */
export async function openLineFile(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  path: string,
  {
    fileBytes,
    waitingBytes,
    flushEveryMs,
  }: { readonly [Bound in keyof typeof lineFileBounds]: number } = lineFileBounds,
  onWritten: (bytes: number) => void = () => {},
): Promise<LineFile> {
  let file = await openForAppending(path);
  let size = (await file.stat()).size;
  let waiting = '';
  let isFailing = false;
  const appended = new AppendedBytes(onWritten);

  async function flush(): Promise<void> {
    if (waiting === '') return appended.grew(0, clock.monotonic());
    const text = Buffer.from(waiting);
    waiting = '';
    try {
      if (size > 0 && size + text.length > fileBytes) await turn();
      await file.appendFile(text);
      size += text.length;
      appended.grew(text.length, clock.monotonic());
      isFailing = false;
    } catch (error) {
      if (!isFailing) log.warn('lines could not be written and are lost', { path, reason: messageOf(error) });
      isFailing = true;
    }
  }

  async function turn(): Promise<void> {
    await rename(path, `${path}.1`);
    const full = file;
    file = await openForAppending(path);
    size = 0;
    await full.close();
  }

  return {
    write(line) {
      if (waiting.length + line.length >= waitingBytes) return false;
      waiting += `${line}\n`;
      return true;
    },
    async run(signal) {
      while (await clock.sleep(flushEveryMs, signal, 'loop')) await flush();
      await flush();
      appended.end();
      await file.close();
    },
  };
}

async function openForAppending(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'a', 0o640);
  } catch (cause) {
    throw new MesoliteError('START_FAILED', `cannot write to ${path}: ${messageOf(cause)}`, { cause });
  }
}

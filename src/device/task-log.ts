import { type FileHandle, open, rename, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

export type TaskStream = 'stdout' | 'stderr';

/** No tail is longer. */
export const maxTailBytes = 128 * 1024;

/** The file that a task's stream goes to, in the task's directory; what was cut from it last is in `<file>.1`. */
export function logPath(directory: string, stream: TaskStream): string {
  return join(directory, `${stream}.log`);
}

/** The end of what a task wrote, whole characters, at most `maxTailBytes`; empty when it wrote nothing. */
export async function readLogTail(directory: string, stream: TaskStream, tailBytes: number): Promise<string> {
  const wanted = Math.min(Math.max(0, tailBytes), maxTailBytes);
  const path = logPath(directory, stream);
  const newest = await readEnd(path, wanted);
  const older = newest.length < wanted ? await readEnd(`${path}.1`, wanted - newest.length) : Buffer.alloc(0);
  return wholeCharacters(Buffer.concat([older, newest]));
}

/** Cuts a text into pieces whose JSON takes at most `maxBytes` each, for messages of bounded size. */
export function splitForWire(text: string, maxBytes: number): string[] {
  if (Buffer.byteLength(JSON.stringify(text)) <= maxBytes || text.length <= 1) return text === '' ? [] : [text];
  const middle = text.length >> 1;
  // a pair of surrogates stays together
  const cut = /[\ud800-\udbff]/.test(text.charAt(middle - 1)) ? middle + 1 : middle;
  if (cut >= text.length) return [text];
  return [...splitForWire(text.slice(0, cut), maxBytes), ...splitForWire(text.slice(cut), maxBytes)];
}

export interface LogKeeperSettings {
  /** A log that is longer is cut: its last part of this length is kept beside it. */
  readonly maxBytes?: number;
  readonly everyMs?: number;
}

/** Keeps the logs of tasks from filling the disk. */
export interface LogKeeper {
  watch(directory: string): void;
  forget(directory: string): void;
  /** Looks at the logs until `signal` aborts. */
  start(signal: AbortSignal): Promise<void>;
}

/**
 * Each stream of a task takes at most twice `maxBytes`, and what is written between two looks: a file is copied and cut while the
 * task writes on (it has it open for appending), so that lines written during the copy can be lost. While no agent runs,
 * nothing is cut.
 */
export function makeLogKeeper(
  { clock, log }: { readonly clock: Clock; readonly log: Log },
  { maxBytes = 5 * 1024 * 1024, everyMs = 2_000 }: LogKeeperSettings = {},
): LogKeeper {
  const directories = new Set<string>();
  const look = async (directory: string): Promise<void> => {
    for (const stream of ['stdout', 'stderr'] as const) {
      const path = logPath(directory, stream);
      try {
        if ((await sizeOf(path)) > maxBytes) await cut(path, maxBytes);
      } catch (error) {
        // a full disk is when it matters most: the log goes, the history beside it stays as it was
        await truncate(path, 0).catch(() => undefined);
        log.warn('a task log could not be kept and was emptied', { path, why: messageOf(error) });
      }
    }
  };
  return {
    watch: directory => void directories.add(directory),
    forget: directory => void directories.delete(directory),
    async start(signal) {
      while (await clock.sleep(everyMs, signal)) {
        for (const directory of directories) await look(directory);
      }
    },
  };
}

/** Keeps the end of a log beside it and empties it. */
async function cut(path: string, keepBytes: number): Promise<void> {
  const source = await open(path, 'r');
  try {
    const target = await open(`${path}.new`, 'w', 0o600);
    try {
      await copyEnd(source, target, keepBytes);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
  await truncate(path, 0);
  await rename(`${path}.new`, `${path}.1`);
}

async function copyEnd(source: FileHandle, target: FileHandle, keepBytes: number): Promise<void> {
  const { size } = await source.stat();
  const buffer = Buffer.alloc(64 * 1024);
  for (let at = Math.max(0, size - keepBytes); at < size; ) {
    const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) return;
    await target.write(buffer, 0, bytesRead);
    at += bytesRead;
  }
}

async function readEnd(path: string, bytes: number): Promise<Buffer> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch {
    return Buffer.alloc(0);
  }
  try {
    const { size } = await file.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch {
    return 0;
  }
}

/** Text without the rest of a character that the cut has torn at its start. */
function wholeCharacters(bytes: Buffer): string {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.toString('utf8', start);
}

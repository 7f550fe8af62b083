import { existsSync, statSync } from 'node:fs';
import { type FileHandle, open, rename, truncate } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import { type OutputStreamName, outputStreams } from '../model/output.ts';
import { LogAllowance, type LogRate } from './log-allowance.ts';
import { LogHistory } from './log-history.ts';
import { AppendedBytes, syncedBytes, writebackMs } from './wear.ts';

/** A log that is longer is cut: its last part of this length is kept beside it. */
export const maxLogBytes = 5 * 1024 * 1024;

/** No tail is longer. */
export const maxTailBytes = 128 * 1024;

/** The file that a task's stream goes to, in the task's directory; what was cut from it last is in `<file>.1`. */
export function logPath(directory: string, stream: OutputStreamName): string {
  return join(directory, `${stream}.log`);
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
  /** `maxLogBytes` where it is left out. */
  readonly maxBytes?: number;
  readonly everyMs?: number;
  /** What of each log is kept; what is written beyond that is taken back, and that is said in its place. */
  readonly rate?: LogRate;
  /** Hears of what tasks have written that is kept, and of what is copied. */
  readonly onWritten?: (bytes: number) => void;
}

export const defaultLogRate: LogRate = { bytesPerSecond: 64 * 1024, burstBytes: 5 * 1024 * 1024 };

interface Watched {
  readonly history: LogHistory;
  readonly allowance: LogAllowance;
  readonly appended: AppendedBytes;
  /** At the last look. */
  size: number;
}

/** So many times as often logs are looked at while one grows too fast. */
const floodFactor = 20;

/** Keeps the logs of tasks from filling the disk. */
export interface LogKeeper {
  watch(directory: string): void;
  forget(directory: string): void;
  /** Of a log that is watched, and a new one for any other. */
  historyOf(directory: string, stream: OutputStreamName): LogHistory;
  /** Looks at the logs until `signal` aborts. */
  start(signal: AbortSignal): Promise<void>;
}

export interface LogKeeperParts {
  readonly clock: Clock;
  readonly log: Log;
  /** `written.ts`: with it logs are looked at only while they grow. */
  readonly untilWritten?: (directories: Iterable<string>, signal: AbortSignal) => Promise<boolean>;
}

/**
 * Each stream of a task takes at most twice `maxBytes`, and what is written between two looks: a file is copied and cut while the
 * task writes on (it has it open for appending), so that lines written during the copy can be lost. While no agent runs, `log-guard.ts` cuts.
 */
export function makeLogKeeper(
  { clock, log, untilWritten }: LogKeeperParts,
  { maxBytes = maxLogBytes, everyMs = 2_000, rate = defaultLogRate, onWritten = () => {} }: LogKeeperSettings = {},
): LogKeeper {
  let isFlooded = false;
  /** Nothing has grown at the last look. */
  let isQuiet = false;
  /** Ends a wait for the next write, since there is one more to wait for. */
  let wake = () => {};
  const all = new Map<string, Watched>();

  async function look(path: string, watched: Watched): Promise<void> {
    const { size, at } = lookAt(path);
    const before = Math.min(watched.size, size);
    if (size !== watched.size) isQuiet = false;
    const over = watched.allowance.spend(size - before, clock.monotonic());
    watched.size = over > 0 ? await leaveOut(path, watched, size - over) : size;
    watched.appended.grew(Math.max(0, watched.size - before), clock.monotonic());
    watched.history.note(watched.size, at);
    if (watched.size > maxBytes) await shorten(path, watched);
  }

  async function leaveOut(path: string, { history }: Watched, keepBytes: number): Promise<number> {
    isFlooded = true;
    try {
      return await takeBack(path, keepBytes, rate.bytesPerSecond);
    } finally {
      history.takeBack(keepBytes);
    }
  }

  async function shorten(path: string, watched: Watched): Promise<void> {
    const { history, size } = watched;
    isFlooded = true;
    watched.size = 0;
    try {
      history.cut(await cut(path, maxBytes), true);
      onWritten(syncedBytes(Math.min(size, maxBytes)));
    } catch (error) {
      // a full disk is when it matters most: the log goes, the history beside it stays as it was
      await truncate(path, 0).catch(() => undefined);
      history.cut(size, false);
      log.warn('a task log could not be kept and was emptied', { path, why: messageOf(error) });
    }
  }

  /** What tells of the next write: a task that still waits for an artifact has no directory, and gets one in the directory of all. */
  function places(): ReadonlySet<string> {
    const directories = new Set([...all.keys()].map(path => dirname(path)));
    return new Set([...directories].map(each => (existsSync(each) ? each : dirname(each))));
  }

  /** While nothing is written to any log nothing is looked at. */
  async function untilGrowing(signal: AbortSignal): Promise<void> {
    if (!isQuiet || untilWritten === undefined) return;
    const waiting = new AbortController();
    wake = () => waiting.abort();
    const forget = onAbort(signal, wake);
    const watched = places();
    const written = untilWritten(watched, waiting.signal);
    // what came before anybody waited for it
    if ([...all].some(([path, { size }]) => hasGrown(path, size)) || [...places()].some(each => !watched.has(each)))
      wake();
    const isCounted = [...all.values()].every(({ appended }) => !appended.isWaiting);
    const cancel = isCounted ? () => {} : clock.after(writebackMs, wake);
    await written;
    cancel();
    forget();
  }

  return {
    watch(directory) {
      wake();
      for (const stream of outputStreams) {
        const path = logPath(directory, stream);
        // what is there was written while nobody looked
        const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
        const allowance = new LogAllowance(rate, clock.monotonic());
        all.set(path, { history: new LogHistory(), allowance, appended: new AppendedBytes(onWritten), size });
      }
    },
    forget(directory) {
      for (const stream of outputStreams) {
        const path = logPath(directory, stream);
        all.get(path)?.appended.end();
        all.delete(path);
      }
    },
    historyOf: (directory, stream) => all.get(logPath(directory, stream))?.history ?? new LogHistory(),
    async start(signal) {
      // who has just filled a log within one look may fill the disk within the next
      while (await clock.sleep(isFlooded ? everyMs / floodFactor : everyMs, signal, 'loop')) {
        isFlooded = false;
        isQuiet = true;
        for (const [path, watched] of all) {
          await look(path, watched).catch(error => {
            log.warn('a task log cannot be looked after', { path, why: messageOf(error) });
          });
        }
        await untilGrowing(signal);
      }
    },
  };
}

/** Takes the newest bytes of a log back, down to `keepBytes`, and says in their place how many they were; returns its size. */
async function takeBack(path: string, keepBytes: number, bytesPerSecond: number): Promise<number> {
  const file = await open(path, 'a');
  try {
    const { size } = await file.stat();
    await file.truncate(keepBytes);
    const left = ((size - keepBytes) / 1_048_576).toFixed(1);
    await file.appendFile(`\n[mesolite: ${left} MiB left out here, at most ${bytesPerSecond / 1024} KiB/s are kept]\n`);
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}

/** Keeps the end of a log beside it and empties it; returns the size that it had. */
async function cut(path: string, keepBytes: number): Promise<number> {
  const source = await open(path, 'r');
  let size: number;
  try {
    const target = await open(`${path}.new`, 'w', 0o600);
    try {
      size = await copyEnd(source, target, keepBytes);
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
  await truncate(path, 0);
  await rename(`${path}.new`, `${path}.1`);
  return size;
}

async function copyEnd(source: FileHandle, target: FileHandle, keepBytes: number): Promise<number> {
  const { size } = await source.stat();
  const buffer = Buffer.alloc(64 * 1024);
  for (let at = Math.max(0, size - keepBytes); at < size; ) {
    const { bytesRead } = await source.read(buffer, 0, Math.min(buffer.length, size - at), at);
    if (bytesRead === 0) break;
    await target.write(buffer, 0, bytesRead);
    at += bytesRead;
  }
  return size;
}

// the task has it open, so the kernel answers from memory: within microseconds, where the thread pool costs two wakes
function lookAt(path: string): { readonly size: number; readonly at: number } {
  const found = statSync(path, { throwIfNoEntry: false });
  return { size: found?.size ?? 0, at: found?.mtimeMs ?? 0 };
}

/** One that cannot be looked at has not: who looks after it says why. */
function hasGrown(path: string, size: number): boolean {
  try {
    return lookAt(path).size !== size;
  } catch {
    return false;
  }
}

import { Buffer } from 'node:buffer';
import { type FileHandle, open } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import type { OutputStreamName } from '../model/output.ts';
import type { LogHistory } from './log-history.ts';
import { logPath } from './task-log.ts';

/** What a task wrote. */
export interface LogPiece {
  /** Whole characters; the beginning of one waits for the rest of it. */
  readonly text: string;
  /** The latest moment at which it was written, in milliseconds since 1970 by the system's clock. */
  readonly at: number;
  /** How many bytes were read, and how many were left out before them. */
  readonly bytes: number;
  readonly skipped: number;
}

interface Source {
  readonly file: FileHandle | undefined;
  readonly size: number;
  readonly at: number;
}

/** A file that is shorter than what was read of it, so many times in a row, was emptied by somebody else. */
const emptiedAfter = 16;

/** Reads on in a stream of a task while it grows and is cut. */
export class LogReader {
  readonly #stream: OutputStreamName;
  readonly #history: LogHistory;
  #position = 0;
  #base: number;
  #decoder = new StringDecoder('utf8');
  /** The next byte may be in the middle of a character. */
  #isTorn = true;
  #short = 0;
  #backs: number;

  constructor(stream: OutputStreamName, history: LogHistory) {
    this.#stream = stream;
    this.#history = history;
    this.#base = history.base;
    this.#backs = history.backs;
  }

  /** How many bytes were read or left out, from an arbitrary start on. */
  get position(): number {
    return this.#position;
  }

  /** Begins `tailBytes` before the end, whose position is returned. */
  async seek(directory: string, tailBytes: number): Promise<number> {
    const path = logPath(directory, this.#stream);
    const size = await withSource(path, async newest => newest.size);
    const kept = await withSource(`${path}.1`, async older => this.#kept(older));
    const end = this.#history.base + size;
    this.#position = Math.max(end - tailBytes, this.#history.base - kept);
    return end;
  }

  /** The next bytes, at most `maxBytes`; where more than `maxBehind` wait, the oldest are left out. Undefined when there are none. */
  read(directory: string, maxBytes: number, maxBehind = Number.POSITIVE_INFINITY): Promise<LogPiece | undefined> {
    const path = logPath(directory, this.#stream);
    return withSource(path, async newest => {
      const { base } = this.#history;
      // what was written while it was cut is gone
      if (base !== this.#base) this.#position = Math.min(this.#position, base);
      this.#base = base;
      this.#goBack();
      this.#short = this.#position > base + newest.size ? this.#short + 1 : 0;
      if (this.#short >= emptiedAfter) this.#position = base;
      const from = Math.max(this.#position, base + newest.size - maxBehind);
      const piece =
        (from < base ? await withSource(`${path}.1`, older => this.#older(older, from, maxBytes)) : undefined) ??
        (await this.#next(newest, Math.max(from, base), base, maxBytes));
      // cut meanwhile: the bytes may be of before or after
      const isSame = this.#history.base === base && this.#history.backs === this.#backs;
      return piece && isSame ? this.#take(piece) : undefined;
    });
  }

  /** What was read and is no more is followed by what came in its place. */
  #goBack(): void {
    const from = this.#history.takenBackSince(this.#backs);
    this.#backs = this.#history.backs;
    if (from >= this.#position) return;
    this.#position = from;
    this.#decoder = new StringDecoder('utf8');
  }

  #kept({ size }: Source): number {
    return this.#history.isOlderKept ? size : 0;
  }

  #older(older: Source, from: number, maxBytes: number) {
    const first = this.#base - this.#kept(older);
    return this.#next(older, Math.max(from, first), first, maxBytes, this.#base - first);
  }

  /** Reads at position `from` in a file whose first byte is at `first`. */
  async #next({ file, size, at }: Source, from: number, first: number, maxBytes: number, end = size) {
    const mark = this.#history.markAfter(from);
    const length = Math.min(maxBytes, first + end - from, (mark?.position ?? Number.POSITIVE_INFINITY) - from);
    if (file === undefined || length <= 0) return undefined;
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from - first);
    return { from, bytes: buffer.subarray(0, bytesRead), at: Math.min(at, mark?.at ?? at) };
  }

  #take({ from, bytes, at }: { readonly from: number; readonly bytes: Buffer; readonly at: number }): LogPiece {
    const skipped = from - this.#position;
    if (skipped > 0) {
      this.#isTorn = true;
      this.#decoder = new StringDecoder('utf8');
    }
    this.#position = from + bytes.length;
    const whole = this.#isTorn ? fromWholeCharacter(bytes) : bytes;
    this.#isTorn = false;
    return { text: this.#decoder.write(whole), at, bytes: bytes.length, skipped };
  }
}

async function withSource<T>(path: string, use: (source: Source) => Promise<T>): Promise<T> {
  const file = await open(path, 'r').catch(() => undefined);
  try {
    if (file === undefined) return await use({ file, size: 0, at: 0 });
    const { size, mtimeMs } = await file.stat();
    return await use({ file, size, at: mtimeMs });
  } finally {
    await file?.close();
  }
}

/** Without the rest of a character at its start. */
function fromWholeCharacter(bytes: Buffer): Buffer {
  let start = 0;
  while (start < 3 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start++;
  return bytes.subarray(start);
}

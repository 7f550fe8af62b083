import { Buffer } from 'node:buffer';
import { secondMs } from '../../base/clock.ts';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import { maxHeadBytes } from './head.ts';
import { joined, stringBytes } from './rewrite.ts';

/** All upstream connections read into one buffer, one after another; a smaller one costs more calls for large bodies. */
export const readBufferBytes = 128 * 1024;
const bufferBytes = maxHeadBytes + readBufferBytes;
/** So many are kept for each MB that the proxy may hold for slow readers. */
export const spareBuffersPerMb = 2;
const spareMs = 10 * secondMs;

/** What takes the bytes; `done` is called once they are needed no longer. */
export interface Sink {
  write(data: string | Buffer, done?: () => void): boolean;
}

/**
 * Copies what was read into a shared buffer to where it can wait for being sent. The buffers of large copies are used again:
 * V8 counts the bytes of each new one, and after some 64 MB of them collects all garbage, which was a third of the CPU that
 * 64 KiB responses took (`npm run bench:proxy` shows it). Those to spare go after 10 s without use.
 */
export class WriteBuffers implements Timed {
  deadlineAt = never;
  readonly #deadlines: Deadlines;
  readonly #maxSpare: number;
  readonly #spare: WriteBuffer[] = [];
  #closed = false;

  constructor(deadlines: Deadlines, maxSpare = 32) {
    this.#deadlines = deadlines;
    this.#maxSpare = maxSpare;
  }

  /** Writes `text` followed by the bytes from `from` to `end`, which may be overwritten at once; returns what the sink says. */
  write(to: Sink, text: string, bytes: Buffer, from: number, end: number): boolean {
    if (from === end) return to.write(text);
    const length = text.length + end - from;
    if (length <= stringBytes) return to.write(text + bytes.toString('latin1', from, end));
    if (length > bufferBytes) return to.write(joined(text, bytes, from, end));
    const buffer = this.#spare.pop() ?? new WriteBuffer(this.#keep);
    return to.write(buffer.fill(text, bytes, from, end), buffer.done);
  }

  onDeadline(): void {
    this.#spare.length = 0;
    this.#deadlines.delete(this);
  }

  /** Keeps nothing from now on, so that the process need not wait for it to age. */
  close(): void {
    this.#closed = true;
    this.onDeadline();
  }

  readonly #keep = (buffer: WriteBuffer): void => {
    if (this.#closed || this.#spare.length >= this.#maxSpare) return;
    if (this.#spare.length === 0) this.#deadlines.add(this);
    this.#spare.push(buffer);
    this.deadlineAt = this.#deadlines.now + spareMs;
  };
}

class WriteBuffer {
  readonly done: () => void;
  readonly #bytes = Buffer.allocUnsafeSlow(bufferBytes);

  constructor(keep: (buffer: WriteBuffer) => void) {
    this.done = () => keep(this);
  }

  fill(text: string, bytes: Buffer, from: number, end: number): Buffer {
    if (text !== '') this.#bytes.write(text, 0, 'latin1');
    bytes.copy(this.#bytes, text.length, from, end);
    return this.#bytes.subarray(0, text.length + end - from);
  }
}

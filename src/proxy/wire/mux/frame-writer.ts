import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import { frameHeader, frameKind, headerBytes } from './frame.ts';

/** With so much on its way, streams keep the rest to themselves, and are served in turn. */
const fullBytes = 256 * 1024;

/**
 * Gathers the frames of one turn of the event loop and writes them together, so that many requests share TLS records and
 * system calls: as one latin1 string, which Node sends fastest, unless there are Buffers among them.
 */
export class FrameWriter {
  readonly #socket: Duplex;
  /** What stands before `#text`, when there have been Buffers. */
  #parts: (string | Buffer)[] = [];
  #text = '';
  #queued = 0;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Bytes that the other side has not taken yet. */
  get backlog(): number {
    return this.#queued + this.#socket.writableLength;
  }

  get isFull(): boolean {
    return this.backlog >= fullBytes;
  }

  control(kind: number, stream: number, value: number): void {
    this.#count(headerBytes);
    this.#text += frameHeader(kind, stream, value);
  }

  /** `data` is latin1 text or a Buffer that nobody changes any more. */
  data(stream: number, data: string | Buffer): void {
    this.#count(headerBytes + data.length);
    this.#text += frameHeader(frameKind.data, stream, data.length);
    if (typeof data === 'string') this.#text += data;
    else {
      this.#parts.push(this.#text, data);
      this.#text = '';
    }
  }

  #count(bytes: number): void {
    if (this.#queued === 0) setImmediate(this.flush);
    this.#queued += bytes;
  }

  readonly flush = (): void => {
    const parts = this.#parts;
    const text = this.#text;
    if (this.#queued === 0 || this.#socket.destroyed) return;
    this.#text = '';
    this.#queued = 0;
    if (parts.length === 0) {
      this.#socket.write(text, 'latin1');
      return;
    }
    this.#parts = [];
    this.#socket.cork();
    for (const part of parts) typeof part === 'string' ? this.#socket.write(part, 'latin1') : this.#socket.write(part);
    if (text !== '') this.#socket.write(text, 'latin1');
    this.#socket.uncork();
  };
}

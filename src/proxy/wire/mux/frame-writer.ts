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
  /** Counts the writes: what was queued in this one has not left. */
  turn = 0;
  /** To be called when the bytes have been taken. */
  #dones: (() => void)[] = [];

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

  /** `data` is latin1 text or a Buffer that nobody changes before `done` is called. */
  data(stream: number, data: string | Buffer, done: (() => void) | undefined): void {
    if (done !== undefined) this.#dones.push(done);
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
    const socket = this.#socket;
    // one that has been ended from the other side is no longer writable: what is queued never leaves
    if (this.#queued === 0 || !socket.writable) return;
    this.turn++;
    const parts = this.#parts;
    const text = this.#text;
    this.#text = '';
    this.#queued = 0;
    if (parts.length === 0) {
      socket.write(text, 'latin1');
      return;
    }
    this.#parts = [];
    socket.cork();
    for (const part of parts) typeof part === 'string' ? socket.write(part, 'latin1') : socket.write(part);
    socket.write(text, 'latin1', this.#takeDones());
    socket.uncork();
  };

  #takeDones(): () => void {
    const dones = this.#dones;
    this.#dones = [];
    return () => {
      for (const done of dones) done();
    };
  }
}

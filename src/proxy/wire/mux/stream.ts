import type { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';
import type { ByteStream } from '../byte-stream.ts';
import { initialWindowBytes, maxFrameBytes, maxWindowBytes } from './frame.ts';
import { HeldBytes } from './held-bytes.ts';

type Listener = Parameters<EventEmitter['on']>[1];

/** What is to be sent; `done` is called once it has been, and never when the stream breaks before. */
interface Waiting {
  data: string | Buffer;
  readonly done: (() => void) | undefined;
}

/** What a stream needs of its connection. */
export interface StreamOwner {
  readonly isFull: boolean;
  /** The write that what is sent now leaves with. */
  readonly turn: number;
  sendData(stream: MuxStream, data: string | Buffer, done: (() => void) | undefined): void;
  sendEnd(stream: MuxStream): void;
  sendWindow(stream: MuxStream, credit: number): void;
  sendBlocked(stream: MuxStream): void;
  sendReset(stream: MuxStream): void;
  /** It has more to send than the connection takes now: `pump` it when its turn comes. */
  queue(stream: MuxStream): void;
  /** Up to so many bytes more may be held for a stream; returns how many of them are granted. */
  lend(bytes: number): number;
  /** The stream is over, `lent` bytes are free again. */
  forget(stream: MuxStream, lent: number): void;
}

/**
 * One stream of a multiplexed connection, as if it were a socket. It sends no more than the other side has given it window
 * for, and holds no more than it has given window for itself. Besides the events of a ByteStream it has `retire`: the
 * connection is being drained, so the stream should be used for nothing new.
 */
export class MuxStream extends EventEmitter implements ByteStream {
  readonly allowHalfOpen = true;
  readonly id: number;
  refused = false;
  readonly #owner: StreamOwner;
  /** Who listens to `data`, called without a search among all events: it is one for each request. */
  readonly #readers: ((bytes: Buffer) => void)[] = [];
  // sending
  #credit = initialWindowBytes;
  #waiting: Waiting[] = [];
  #needsDrain = false;
  #ending = false;
  #endSent = false;
  /** The write with which the first bytes left since the other side last sent some; -1: none have. */
  #sentIn = -1;
  // receiving
  #window = initialWindowBytes;
  #target = initialWindowBytes;
  #consumed = 0;
  #held: HeldBytes | undefined;
  #paused = false;
  #endReceived = false;
  #endDelivered = false;
  #closed = false;

  constructor(owner: StreamOwner, id: number) {
    super();
    this.#owner = owner;
    this.id = id;
  }

  // --- as a ByteStream ---

  override on(event: string | symbol, listener: Listener): this {
    if (event !== 'data') return super.on(event, listener);
    this.#readers.push(listener);
    return this;
  }

  override off(event: string | symbol, listener: Listener): this {
    if (event !== 'data') return super.off(event, listener);
    const at = this.#readers.indexOf(listener);
    if (at >= 0) this.#readers.splice(at, 1);
    return this;
  }

  get writableNeedDrain(): boolean {
    return this.#needsDrain;
  }

  write(data: string | Buffer, done?: 'latin1' | (() => void)): boolean {
    const onDone = typeof done === 'function' ? done : undefined;
    if (this.#ending || this.#closed || data.length === 0) {
      onDone?.();
      return !this.#needsDrain;
    }
    const owner = this.#owner;
    if (!this.#needsDrain && data.length <= this.#credit && data.length <= maxFrameBytes && !owner.isFull) {
      this.#credit -= data.length;
      this.#give(data, onDone);
      return true;
    }
    this.#waiting.push({ data, done: onDone });
    this.#needsDrain = true;
    this.#send(Number.POSITIVE_INFINITY);
    this.#needsDrain = this.#waiting.length > 0;
    return !this.#needsDrain;
  }

  end(): void {
    if (this.#ending || this.#closed) return;
    this.#ending = true;
    if (this.#waiting.length === 0) this.#sendEnd();
  }

  pause(): void {
    this.#paused = true;
  }

  /** What is held comes later, as from a socket: whoever resumes may not be ready for it yet. */
  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#held !== undefined || (this.#endReceived && !this.#endDelivered)) process.nextTick(deliverHeld, this);
  }

  destroy(): void {
    if (this.#closed) return;
    this.#owner.sendReset(this);
    this.#close(false);
  }

  // --- from the connection ---

  /** A data frame of so many bytes begins; false when there was no window for it. */
  beginData(length: number): boolean {
    this.#window -= length;
    return this.#window >= 0 && !this.#endReceived;
  }

  /** Bytes that are only valid during the call, if they are those of a shared buffer. */
  receive(bytes: Buffer, from: number, end: number): void {
    this.#sentIn = -1;
    if (this.#paused || this.#held !== undefined) {
      this.#held ??= new HeldBytes();
      this.#held.append(bytes, from, end);
      return;
    }
    this.#read(bytes.subarray(from, end));
  }

  /** False when it had ended before. */
  receiveEnd(): boolean {
    if (this.#endReceived) return false;
    this.#endReceived = true;
    if (!this.#paused && this.#held === undefined) this.#deliverEnd();
    return true;
  }

  /** False when the window would be larger than any may be. */
  addCredit(bytes: number): boolean {
    this.#credit += bytes;
    if (this.#credit > maxWindowBytes) return false;
    if (this.#waiting.length > 0) this.pump(Number.POSITIVE_INFINITY);
    return true;
  }

  /** The other side waits for a larger window, which a reader that keeps up is given as far as there is one; never false. */
  widen(): true {
    if (this.#paused || this.#held !== undefined || this.#endReceived) return true;
    const lent = this.#owner.lend(Math.min(this.#target, maxWindowBytes - this.#target));
    if (lent > 0) this.#grant(lent);
    this.#target += lent;
    return true;
  }

  /** Sends up to `most` bytes of what waits. */
  pump(most: number): void {
    if (this.#closed) return;
    this.#send(most);
    if (this.#waiting.length > 0) return;
    if (this.#ending) this.#sendEnd();
    else if (this.#needsDrain) {
      this.#needsDrain = false;
      this.emit('drain');
    }
  }

  retire(): void {
    this.emit('retire');
  }

  /** The other side, or the connection, has closed it. What never left was not taken. */
  fail(): void {
    if (this.#closed) return;
    if (this.#sentIn < 0 || this.#sentIn === this.#owner.turn) this.refused = true;
    this.#close(true);
  }

  deliverHeld(): void {
    if (this.#paused || this.#closed) return;
    const held = this.#held?.whole;
    this.#held = undefined;
    if (held !== undefined) this.#read(held);
    if (this.#endReceived && !this.#paused && this.#held === undefined) this.#deliverEnd();
  }

  // --- sending ---

  #send(most: number): void {
    let left = most;
    while (this.#waiting.length > 0 && this.#credit > 0) {
      if (left <= 0 || this.#owner.isFull) {
        this.#owner.queue(this);
        return;
      }
      left -= this.#sendPiece(Math.min(this.#credit, maxFrameBytes, left));
    }
    if (this.#waiting.length > 0) this.#owner.sendBlocked(this);
  }

  /** Sends up to `most` bytes of what has waited longest; returns how many. */
  #sendPiece(most: number): number {
    const [first] = this.#waiting;
    if (first === undefined) return 0;
    const { data, done } = first;
    const size = Math.min(data.length, most);
    this.#credit -= size;
    if (size === data.length) {
      this.#waiting.shift();
      this.#give(data, done);
    } else if (typeof data === 'string') {
      first.data = data.slice(size);
      this.#give(data.slice(0, size), undefined);
    } else {
      first.data = data.subarray(size);
      this.#give(data.subarray(0, size), undefined);
    }
    return size;
  }

  #give(data: string | Buffer, done: (() => void) | undefined): void {
    if (this.#sentIn < 0) this.#sentIn = this.#owner.turn;
    this.#owner.sendData(this, data, done);
  }

  #sendEnd(): void {
    if (this.#endSent) return;
    this.#endSent = true;
    this.#owner.sendEnd(this);
    process.nextTick(emitFinish, this);
    this.#closeIfOver();
  }

  // --- receiving ---

  #read(bytes: Buffer): void {
    for (const reader of this.#readers) reader(bytes);
    this.#consume(bytes.length);
  }

  /** The reader has taken so many bytes; the other side may send as many again. */
  #consume(bytes: number): void {
    this.#consumed += bytes;
    if (this.#consumed < this.#target / 2 || this.#endReceived || this.#closed) return;
    this.#grant(this.#consumed);
    this.#consumed = 0;
  }

  #grant(bytes: number): void {
    this.#window += bytes;
    this.#owner.sendWindow(this, bytes);
  }

  /** Once, however often a reader pauses and resumes behind it. */
  #deliverEnd(): void {
    if (this.#endDelivered) return;
    this.#endDelivered = true;
    this.emit('end');
    this.#closeIfOver();
  }

  // --- closing ---

  #closeIfOver(): void {
    if (this.#endSent && this.#endDelivered && !this.#closed) this.#close(false);
  }

  #close(hadError: boolean): void {
    this.#closed = true;
    this.#held = undefined;
    // without `done`: the first piece of a Buffer may still stand in the connection's queue, and must not change there
    this.#waiting = [];
    this.#owner.forget(this, this.#target - initialWindowBytes);
    process.nextTick(emitClose, this, hadError);
  }
}

function deliverHeld(stream: MuxStream): void {
  stream.deliverHeld();
}

function emitFinish(stream: MuxStream): void {
  stream.emit('finish');
}

function emitClose(stream: MuxStream, hadError: boolean): void {
  stream.emit('close', hadError);
}

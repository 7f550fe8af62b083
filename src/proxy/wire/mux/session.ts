import type { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
import type { Deadlines } from '../../deadlines.ts';
import { type FrameEvents, FrameReader, frameKind, maxStreamId, maxStreams, resetReason } from './frame.ts';
import { FrameWriter } from './frame-writer.ts';
import { Liveness, type Watched } from './liveness.ts';
import type { Loans } from './loans.ts';
import { MuxStream, type StreamOwner } from './stream.ts';

/** What all connections of a proxy share. */
export interface MuxParts {
  readonly deadlines: Deadlines;
  readonly loans: Loans;
}

/** Hears of a connection that carries many streams. */
export interface SessionEvents {
  /** The other side has opened a stream; false refuses it. */
  onStream(stream: MuxStream): boolean;
  /** The other side has broken a rule; the connection closes. */
  onBroken(reason: string): void;
}

/** One stream after another may send so much when there is room again. */
const turnBytes = 16 * 1024;
/** Beyond the initial windows, streams of a connection whose readers keep up are lent so much together. */
const maxLentBytes = 4 * 1024 * 1024;
/**
 * Beside the data that a writer takes before it is full, nothing but answers to what the other side sends can pile up here; if it takes
 * none of them, it is cut off.
 */
export const maxBacklogBytes = 512 * 1024;
/** Streams that the other side may open and take back again between two ticks of the deadlines, which are a second apart. */
const maxResets = 1000;

/**
 * A connection that carries many streams, over a TLS socket whose bytes its owner hands to `receive`. The client's side opens
 * streams. Frames that arrive in any other order than `frame.ts` tells, or beyond a window, close it.
 */
export class MuxSession implements FrameEvents, StreamOwner, Watched {
  readonly #socket: Duplex;
  readonly #isClient: boolean;
  readonly #deadlines: Deadlines;
  readonly #loans: Loans;
  readonly #events: SessionEvents;
  readonly #reader = new FrameReader(this);
  readonly #writer: FrameWriter;
  readonly #liveness: Liveness;
  readonly #streams = new Map<number, MuxStream>();
  /** Those that wait for room to send. */
  readonly #queue = new Set<MuxStream>();
  #receiver: MuxStream | undefined;
  #lastId = 0;
  #lent = 0;
  #resets = 0;
  #resetsSince = 0;
  #draining = false;
  #otherDrains = false;
  #broken = '';

  constructor(socket: Duplex, side: 'client' | 'server', { deadlines, loans }: MuxParts, events: SessionEvents) {
    this.#socket = socket;
    this.#isClient = side === 'client';
    this.#deadlines = deadlines;
    this.#loans = loans;
    this.#events = events;
    this.#writer = new FrameWriter(socket);
    this.#liveness = new Liveness(this, deadlines);
    socket.on('drain', () => this.#serveQueue());
    // it takes no streams any more, though it has not said so
    socket.on('end', () => {
      this.#draining = true;
    });
    socket.on('close', () => this.#onClose());
  }

  /** How many streams are open. */
  get size(): number {
    return this.#streams.size;
  }

  /** May another stream be opened? */
  get hasRoom(): boolean {
    return !this.#draining && this.#streams.size < maxStreams && this.#lastId < maxStreamId;
  }

  /** Only while there is room. */
  open(): MuxStream {
    const stream = this.#add(++this.#lastId);
    this.#writer.control(frameKind.open, stream.id, 0);
    this.#liveness.sent();
    return stream;
  }

  /** Takes what has been read; the bytes are not kept. */
  receive(bytes: Buffer, length: number): void {
    this.#liveness.heard();
    if (!this.#isClient) this.#liveness.sayFor(length);
    if (!this.#reader.read(bytes, 0, length)) this.#break();
    else if (this.#writer.backlog > maxBacklogBytes) this.#break('it takes nothing of what it is sent');
  }

  /** No more streams: those that are there go on, and the connection closes when the last of them is over. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#writer.control(frameKind.goaway, 0, 0);
    for (const stream of this.#streams.values()) stream.retire();
    this.#endIfOver();
  }

  destroy(): void {
    this.#draining = true;
    this.#socket.destroy();
  }

  // --- from the liveness ---

  ask(): void {
    this.#writer.control(frameKind.ping, 0, 0);
  }

  say(): void {
    this.#writer.control(frameKind.pong, 0, 0);
  }

  // --- from the reader ---

  onFrame(kind: number, id: number, value: number): boolean {
    if (kind === frameKind.ping) this.say();
    else if (kind === frameKind.goaway) this.#onGoaway();
    else if (kind === frameKind.open) return this.#onOpen(id);
    else if (kind !== frameKind.pong) return this.#onStreamFrame(kind, id, value);
    return true;
  }

  onPayload(bytes: Buffer, from: number, end: number): void {
    this.#receiver?.receive(bytes, from, end);
  }

  #onStreamFrame(kind: number, id: number, value: number): boolean {
    if (id > this.#lastId) return this.#violates('a frame for a stream that was never opened');
    const stream = this.#streams.get(id);
    if (kind === frameKind.data) this.#receiver = stream;
    // it has been closed here, which the other side did not know yet
    if (stream === undefined) return true;
    if (kind === frameKind.data) return stream.beginData(value) || this.#violates('data beyond the window');
    if (kind === frameKind.end) return stream.receiveEnd() || this.#violates('a second end');
    if (kind === frameKind.blocked) return stream.widen();
    if (kind === frameKind.window) return stream.addCredit(value) || this.#violates('a window beyond 1 MiB');
    stream.refused = value === resetReason.refused;
    stream.fail();
    return this.#countReset() || this.#violates('too many streams taken back');
  }

  #onOpen(id: number): boolean {
    if (this.#isClient || id !== this.#lastId + 1) return this.#violates('a stream opened out of turn');
    this.#lastId = id;
    if (this.#streams.size >= maxStreams || !this.#events.onStream(this.#add(id))) this.#refuse(id);
    return true;
  }

  #refuse(id: number): void {
    this.#streams.delete(id);
    this.#writer.control(frameKind.reset, id, resetReason.refused);
  }

  #onGoaway(): void {
    this.#otherDrains = true;
    this.drain();
    this.#endIfOver();
  }

  #countReset(): boolean {
    if (this.#resetsSince !== this.#deadlines.now) this.#resets = 0;
    this.#resetsSince = this.#deadlines.now;
    return ++this.#resets <= maxResets;
  }

  // --- from the streams ---

  get isFull(): boolean {
    return this.#writer.isFull;
  }

  get turn(): number {
    return this.#writer.turn;
  }

  sendData(stream: MuxStream, data: string | Buffer, done: (() => void) | undefined): void {
    this.#writer.data(stream.id, data, done);
    if (this.#isClient) this.#liveness.sent();
  }

  sendEnd(stream: MuxStream): void {
    this.#writer.control(frameKind.end, stream.id, 0);
  }

  sendWindow(stream: MuxStream, credit: number): void {
    this.#writer.control(frameKind.window, stream.id, credit);
  }

  sendBlocked(stream: MuxStream): void {
    this.#writer.control(frameKind.blocked, stream.id, 0);
  }

  sendReset(stream: MuxStream): void {
    this.#writer.control(frameKind.reset, stream.id, resetReason.cancelled);
  }

  queue(stream: MuxStream): void {
    this.#queue.add(stream);
  }

  lend(bytes: number): number {
    const lent = this.#loans.take(Math.min(bytes, maxLentBytes - this.#lent));
    this.#lent += lent;
    return lent;
  }

  forget(stream: MuxStream, lent: number): void {
    this.#lent -= lent;
    this.#loans.give(lent);
    this.#queue.delete(stream);
    this.#streams.delete(stream.id);
    if (this.#receiver === stream) this.#receiver = undefined;
    this.#endIfOver();
  }

  // --- the connection ---

  #add(id: number): MuxStream {
    const stream = new MuxStream(this, id);
    this.#streams.set(id, stream);
    return stream;
  }

  /** Each that waits sends a piece; whoever has more is queued again, behind the others. */
  #serveQueue(): void {
    while (this.#queue.size > 0 && !this.isFull) {
      const [stream] = this.#queue;
      if (stream === undefined) return;
      this.#queue.delete(stream);
      stream.pump(turnBytes);
    }
  }

  /** Only a client opens streams, so it need not wait for the server's word. */
  #endIfOver(): void {
    if (!this.#draining || this.#streams.size > 0 || (!this.#isClient && !this.#otherDrains)) return;
    this.#writer.flush();
    this.#socket.end();
  }

  #violates(reason: string): false {
    this.#broken = reason;
    return false;
  }

  #break(reason = this.#broken || 'no frame'): void {
    this.#events.onBroken(reason);
    this.destroy();
  }

  #onClose(): void {
    this.#liveness.end();
    this.#draining = true;
    for (const stream of [...this.#streams.values()]) stream.fail();
  }
}

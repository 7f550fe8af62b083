import { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';
import type { OutgoingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { isGrpcType } from '../grpc.ts';
import type { ByteStream } from '../wire/byte-stream.ts';
import type { Head } from '../wire/head.ts';
import { chunkOf, lastChunk } from './chunk-text.ts';
import { reason } from './limits.ts';
import { type MessageEvents, MessageReader } from './message-reader.ts';
import { fieldLines, type RequestText } from './request-text.ts';

export interface ServerStreamEvents {
  /** The client took the request back before its answer was whole, or made it one that has to be. */
  onCancelled(): void;
}

/** What waits for the writes up to that number. */
interface Waiting {
  readonly upTo: number;
  readonly done: () => void;
}

/**
 * One HTTP/2 request as a connection of HTTP/1.1 that carries it alone: the engine reads the request as bytes and writes
 * the answer as bytes. What the request brings along in its first turn of the event loop is handed over in one piece.
 */
export class ServerStream extends EventEmitter implements ByteStream, MessageEvents {
  readonly allowHalfOpen = true;
  readonly toHead: boolean;
  readonly #stream: ServerHttp2Stream;
  readonly #chunked: boolean;
  readonly #hasLength: boolean;
  readonly #reader: MessageReader;
  readonly #events: ServerStreamEvents;
  /** What the engine gets when it is ready to read. */
  #early: Buffer[] | undefined;
  /** Bytes still to come of a body with a length. */
  #left: number;
  /** The last of such a body, until the client has said that nothing follows it: what is no whole request must not look like one. */
  #last: Buffer | undefined;
  #requestEnded = false;
  #trailers = '';
  #answered = false;
  #givenUp = false;
  #answerTrailers: OutgoingHttpHeaders = {};
  #writes = 0;
  #written = 0;
  readonly #waiting: Waiting[] = [];

  /** `stream` has a listener for its errors. */
  constructor(stream: ServerHttp2Stream, request: RequestText, head: Head, events: ServerStreamEvents) {
    super();
    this.#stream = stream;
    this.#events = events;
    this.toHead = request.toHead;
    this.#chunked = request.chunked;
    this.#hasLength = request.contentLength >= 0;
    this.#left = Math.max(request.contentLength, 0);
    this.#reader = new MessageReader('response', head, this);
    this.#early = [Buffer.from(request.head, 'latin1')];
    stream.on('data', this.#onData);
    stream.on('trailers', (fields: Record<string, string | string[] | undefined>) => this.#onTrailers(fields));
    stream.on('end', () => this.#onEnd());
    stream.on('drain', () => this.emit('drain'));
    stream.on('finish', () => this.emit('finish'));
    stream.on('wantTrailers', () => this.#sendTrailers());
    stream.on('close', () => this.#onClose());
  }

  get writableNeedDrain(): boolean {
    return this.#stream.writableNeedDrain;
  }

  /** The engine listens now. */
  start(): void {
    const early = this.#early;
    this.#early = undefined;
    if (early === undefined || this.#stream.destroyed) return;
    this.emit('data', early.length === 1 ? early[0] : Buffer.concat(early));
    if (this.#requestEnded) this.emit('end');
  }

  write(data: string | Buffer, done?: 'latin1' | (() => void)): boolean {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    if (!this.#stream.destroyed && !this.#reader.take(bytes)) this.destroy();
    if (typeof done === 'function') this.#whenWritten(done);
    return !this.#stream.writableNeedDrain;
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  /** The answer is whole; a client that is still sending is told to stop (RFC 9113 section 8.1). */
  end(): void {
    this.#reader.finish();
    if (!this.#answered) this.destroy();
  }

  destroy(): void {
    if (this.#stream.destroyed) return;
    this.#givenUp = true;
    this.#stream.close(this.#answered ? reason.none : reason.internal);
    // a connection that node:http2 has given up sends no reset, and would never say that the stream is closed
    setImmediate(() => this.#stream.destroy());
  }

  // --- the answer ---

  onInterim(status: number, fields: OutgoingHttpHeaders): void {
    // what 101 means is a matter of HTTP/1.1
    if (status === 101 || this.#stream.closed) return;
    try {
      this.#stream.additionalHeaders({ ':status': status, ...fields });
    } catch {
      // a header twice that HTTP/2 has once; nobody has to hear of what comes before an answer
    }
  }

  onHead({ status }: Head, _: Buffer, fields: OutgoingHttpHeaders, ended: boolean, chunked: boolean): void {
    if (this.#stream.closed) return;
    fields[':status'] = status;
    // what says how a call of gRPC ended is all there is, and it says so
    if (ended && isGrpcType(String(fields['content-type']))) delete fields['content-length'];
    try {
      this.#stream.respond(fields, { endStream: ended, waitForTrailers: chunked });
    } catch {
      // a header twice that HTTP/2 has once
      this.destroy();
      return;
    }
    if (ended) this.#onAnswered();
  }

  onData(data: Buffer): void {
    // what comes behind a status that has no body in HTTP/2
    if (this.#stream.closed || this.#stream.writableEnded) return;
    this.#writes++;
    this.#stream.write(data, this.#onWritten);
  }

  onEnd(trailers: OutgoingHttpHeaders | undefined): void {
    if (this.#stream.closed) return;
    if (trailers !== undefined) this.#answerTrailers = trailers;
    this.#stream.end();
    this.#onAnswered();
  }

  #sendTrailers(): void {
    if (this.#stream.destroyed) return;
    try {
      this.#stream.sendTrailers(this.#answerTrailers);
    } catch {
      // a header twice that HTTP/2 has once
      this.#answered = false;
      this.destroy();
    }
  }

  #whenWritten(done: () => void): void {
    if (this.#written === this.#writes) done();
    else this.#waiting.push({ upTo: this.#writes, done });
  }

  /** Of a stream that was cut off node:http2 says so too, while a part of the bytes may still stand in the connection's queue. */
  readonly #onWritten = (error?: Error | null): void => {
    if ((error !== undefined && error !== null) || this.#stream.destroyed) return;
    this.#written++;
    while (this.#waiting[0] !== undefined && this.#waiting[0].upTo <= this.#written) this.#waiting.shift()?.done();
  };

  #onAnswered(): void {
    this.#answered = true;
    if (this.#requestEnded) return;
    // behind the turn in which the end of the answer leaves
    this.#stream.once('finish', () => setImmediate(() => this.destroy()));
  }

  // --- the request ---

  readonly #onData = (data: Buffer): void => {
    if (this.#hasLength) this.#left -= data.length;
    if (this.#left < 0) this.#refuse();
    else if (this.#chunked) this.#hand(chunkOf(data));
    else if (this.#left === 0 && data.length > 0) this.#last = data;
    else this.#hand(data);
  };

  #onTrailers(fields: Record<string, string | string[] | undefined>): void {
    const lines = fieldLines(fields);
    // behind a length HTTP/1.1 has no place for them; where they are announced there is none
    if (lines === undefined || (lines !== '' && !this.#chunked)) this.#refuse();
    else this.#trailers = lines;
  }

  #onEnd(): void {
    // a reset without an error looks like an end to a reader
    if (this.#requestEnded || (this.#stream.closed && !this.#answered)) return;
    if (this.#left > 0) {
      this.#refuse();
      return;
    }
    this.#requestEnded = true;
    if (this.#chunked) this.#hand(lastChunk(this.#trailers));
    else if (this.#last !== undefined) this.#hand(this.#last);
    this.#last = undefined;
    if (this.#early === undefined) this.emit('end');
  }

  #hand(bytes: Buffer): void {
    if (this.#early === undefined) this.emit('data', bytes);
    else this.#early.push(bytes);
  }

  /** What came is no HTTP: nothing of it may be taken for the whole request. */
  #refuse(): void {
    this.#stream.close(reason.protocol);
  }

  #onClose(): void {
    this.#early = this.#last = undefined;
    // whatever the client gives as its reason, or does so that node:http2 resets the stream
    if (!this.#answered && !this.#givenUp) this.#events.onCancelled();
    this.emit('close', false);
  }
}

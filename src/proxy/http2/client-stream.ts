import { Buffer } from 'node:buffer';
import { EventEmitter } from 'node:events';
import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';
import type { ConnectionEvents } from '../upstream/connection.ts';
import type { ByteStream } from '../wire/byte-stream.ts';
import { valueText } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import { chunkOf, lastChunk } from './chunk-text.ts';
import { endStream, reason } from './limits.ts';
import { type MessageEvents, MessageReader } from './message-reader.ts';
import { fieldLines } from './request-text.ts';
import { responseText } from './response-text.ts';

type Fields = Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * One request after another to an application that speaks HTTP/2, as a connection of HTTP/1.1: the engine writes requests
 * as bytes and reads answers as bytes. What comes of an answer in one turn of the event loop is handed over in one piece.
 */
export class ClientStream extends EventEmitter implements ByteStream, MessageEvents {
  readonly allowHalfOpen = true;
  toHead = false;
  refused = false;
  /** Not over a connection that is open already, which the other side may just be closing. */
  readonly fresh: boolean;
  readonly #events: ConnectionEvents;
  readonly #reader: MessageReader;
  #session: ClientHttp2Session | undefined;
  #stream: ClientHttp2Stream | undefined;
  #requestTrailers: OutgoingHttpHeaders = {};
  #chunked = false;
  #trailers = '';
  #pieces: Buffer[] = [];
  #scheduled = false;
  #answerEnded = false;
  #closed = false;

  /** `head` may be shared, since it is used within one call. */
  constructor(head: Head, events: ConnectionEvents, fresh: boolean) {
    super();
    this.fresh = fresh;
    this.#events = events;
    this.#reader = new MessageReader('request', head, this);
  }

  get writableNeedDrain(): boolean {
    return this.#stream?.writableNeedDrain ?? false;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Requests go to this session, which others may have used before (`joins`); the engine may begin. */
  bind(session: ClientHttp2Session, joins: boolean): void {
    this.#session = session;
    this.#events.onConnected(this, joins);
  }

  /** The session takes no more requests. */
  retire(): void {
    if (this.#session !== undefined) this.#events.onRetired();
  }

  write(data: string | Buffer): boolean {
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    if (!this.#closed && !this.#reader.take(bytes)) this.destroy();
    return !this.writableNeedDrain;
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  /** The engine asks no more. */
  end(): void {
    if (this.#stream === undefined) this.destroy();
  }

  destroy(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pieces = [];
    this.#stream?.close(reason.cancel);
    this.#stream = undefined;
    setImmediate(() => {
      this.emit('close', false);
      this.#events.onClosed(false);
    });
  }

  // --- the request ---

  onInterim(): void {}

  onHead(head: Head, bytes: Buffer, fields: OutgoingHttpHeaders, ended: boolean, chunked: boolean): void {
    const method = bytes.toString('latin1', head.start, head.methodEnd);
    fields[':method'] = method;
    fields[':path'] = bytes.toString('latin1', head.pathStart, head.pathEnd);
    fields[':scheme'] = 'http';
    fields[':authority'] = valueText(head, bytes, head.host);
    this.toHead = method === 'HEAD';
    this.#answerEnded = this.#chunked = false;
    this.#trailers = '';
    this.#requestTrailers = {};
    try {
      const stream = this.#session?.request(fields, { endStream: ended, waitForTrailers: chunked });
      if (stream === undefined) this.destroy();
      else this.#listen(stream);
    } catch {
      // the session has gone, or a header comes twice that HTTP/2 has once
      this.destroy();
    }
  }

  onData(data: Buffer): void {
    if (this.#stream?.writable === true) this.#stream.write(data);
  }

  onEnd(trailers: OutgoingHttpHeaders | undefined): void {
    if (trailers !== undefined) this.#requestTrailers = trailers;
    this.#stream?.end();
  }

  #listen(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    stream.on('headers', (fields: IncomingHttpHeaders) => this.#onInformational(fields));
    stream.on('response', (fields: IncomingHttpHeaders, flags: number) => this.#onResponse(fields, flags));
    stream.on('data', (data: Buffer) => {
      if (this.#stream === stream) this.#hand(this.#chunked ? chunkOf(data) : data);
    });
    stream.on('trailers', (fields: Fields) => this.#onTrailers(fields));
    stream.on('end', () => this.#onEnd(stream));
    stream.on('drain', () => this.emit('drain'));
    stream.on('wantTrailers', () => this.#sendTrailers(stream));
    // errors are followed by 'close'
    stream.on('error', () => {});
    stream.on('close', () => this.#onStreamClosed(stream));
  }

  #sendTrailers(stream: ClientHttp2Stream): void {
    if (stream.destroyed) return;
    try {
      stream.sendTrailers(this.#requestTrailers);
    } catch {
      // a header twice that HTTP/2 has once
      this.destroy();
    }
  }

  // --- the answer ---

  #onInformational({ ':status': status, ...fields }: Fields & { readonly ':status'?: number }): void {
    const text = responseText(status ?? 0, fields, { ended: false, toHead: false });
    if (text === undefined) this.destroy();
    else this.#hand(Buffer.from(text.head, 'latin1'));
  }

  #onResponse({ ':status': status, ...fields }: Fields & { readonly ':status'?: number }, flags: number): void {
    const ended = (flags & endStream) !== 0;
    const text = responseText(status ?? 0, fields, { ended, toHead: this.toHead });
    if (text === undefined) {
      this.destroy();
      return;
    }
    this.#chunked = text.chunked;
    this.#hand(Buffer.from(text.head, 'latin1'));
  }

  #onTrailers(fields: Fields): void {
    const lines = fieldLines(fields);
    if (lines === undefined) this.destroy();
    else this.#trailers = lines;
  }

  #onEnd(stream: ClientHttp2Stream): void {
    if (this.#stream !== stream || stream.rstCode !== reason.none) return;
    this.#answerEnded = true;
    if (this.#chunked) this.#hand(lastChunk(this.#trailers));
    else this.#schedule();
  }

  #hand(bytes: Buffer): void {
    this.#pieces.push(bytes);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(this.#flush);
  }

  readonly #flush = (): void => {
    this.#scheduled = false;
    const pieces = this.#pieces;
    if (this.#closed) return;
    this.#pieces = [];
    const [first] = pieces;
    const bytes = pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces);
    const stream = this.#stream;
    // behind the end of its answer a request that is whole makes room for the next, which may begin within `onBytes`
    if (this.#answerEnded && stream?.writableEnded === true) this.#stream = undefined;
    if (bytes.length > 0) this.#events.onBytes(bytes.length, bytes);
  };

  /** Closed before its answer was whole: the engine sees the connection break. */
  #onStreamClosed(stream: ClientHttp2Stream): void {
    if (this.#stream !== stream) return;
    this.refused = stream.rstCode === reason.refused;
    if (this.#answerEnded) this.#stream = undefined;
    else this.destroy();
  }
}

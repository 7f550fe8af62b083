import type { Buffer } from 'node:buffer';
import {
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Socket } from 'node:net';
import { minuteMs, secondMs } from '../../base/clock.ts';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import { type LocalAnswer, messageOfAnswer } from '../respond.ts';
import { Downstream } from '../wire/downstream.ts';
import type { DownstreamParts } from '../wire/downstream-parts.ts';
import type { Pipeline } from '../wire/exchange.ts';
import { Head } from '../wire/head.ts';
import { bounds, endStream, nuisance, reason, settings } from './limits.ts';
import { isAnswer, requestText, type TargetForm } from './request-text.ts';
import { ServerStream, type ServerStreamEvents } from './server-stream.ts';

/** A connection of HTTP/2 without requests is ended after as long. */
const idleMs = minuteMs;
/** For the client to close after it has been told to. */
const lingerMs = 2 * secondMs;

/** What one connection's requests need. */
export interface Http2Serving {
  readonly form: TargetForm;
  /** Makes the steps of one request. */
  readonly pipelineOf: () => Pipeline;
  /** A place for one request; the returned function gives it back. Undefined when there is none. */
  readonly takeStream: () => (() => void) | undefined;
  readonly onGone: (connection: Http2Connection) => void;
}

/** Takes over connections that speak HTTP/2, by ALPN or by their first bytes. */
export class Http2Acceptor {
  readonly #parts: DownstreamParts;
  readonly #server: Http2Server;
  readonly #head = new Head();

  constructor(parts: DownstreamParts) {
    this.#parts = parts;
    // it never listens: sockets are handed to it
    this.#server = createServer({ settings, ...bounds });
  }

  /** `early` are bytes that were read already. */
  accept(socket: Socket, serving: Http2Serving, early?: Buffer): Http2Connection | undefined {
    let made: ServerHttp2Session | undefined;
    this.#server.once('session', session => {
      made = session;
    });
    socket.pause();
    if (early !== undefined) socket.unshift(early);
    this.#server.emit('connection', socket);
    this.#server.removeAllListeners('session');
    return made === undefined ? undefined : new Http2Connection(this.#parts, socket, made, serving, this.#head);
  }
}

/** One client's connection of HTTP/2: each of its requests goes through the HTTP/1.1 engine by itself. */
export class Http2Connection implements Timed, ServerStreamEvents {
  deadlineAt: number;
  readonly #parts: DownstreamParts;
  readonly #deadlines: Deadlines;
  readonly #socket: Socket;
  readonly #session: ServerHttp2Session;
  readonly #serving: Http2Serving;
  readonly #responseHead: Head;
  readonly #open = new Map<Downstream, Pipeline>();
  /** Those of requests that are over know the caller and the way, as on a connection that is used again; at most as many as streams. */
  readonly #rested: Pipeline[] = [];
  #draining = false;
  /** How much of what only costs work may still come; refilled as time goes by. */
  #patience: number = nuisance.burst;
  #patienceAt: number;

  constructor(
    parts: DownstreamParts,
    socket: Socket,
    session: ServerHttp2Session,
    serving: Http2Serving,
    responseHead: Head,
  ) {
    this.#parts = parts;
    this.#deadlines = parts.deadlines;
    this.#socket = socket;
    this.#session = session;
    this.#serving = serving;
    this.#responseHead = responseHead;
    this.#patienceAt = parts.clock.monotonic();
    this.deadlineAt = parts.deadlines.now + idleMs;
    parts.deadlines.add(this);
    session.on('stream', (stream: ServerHttp2Stream, _: IncomingHttpHeaders, flags: number, raw: readonly string[]) =>
      this.#onStream(stream, flags, raw),
    );
    session.on('ping', () => this.#annoy());
    session.on('remoteSettings', () => this.#annoy());
    session.on('error', () => this.#linger());
    session.on('close', () => {
      this.#deadlines.delete(this);
      serving.onGone(this);
    });
  }

  /** When its time is up, while it has no request. */
  get waitsUntil(): number {
    return this.deadlineAt;
  }

  giveWay(): void {
    this.#socket.destroy();
  }

  /** Takes no more requests, and ends when those it has are answered. */
  drain(): void {
    this.#draining = true;
    if (!this.#session.closed) this.#session.close();
  }

  onCancelled(): void {
    this.#annoy();
  }

  onDeadline(): void {
    // not the session: once that has ended its side, nobody looks at the socket any more
    if (this.#draining) this.#socket.destroy();
    else {
      this.drain();
      this.#linger();
    }
  }

  /** The client may read what it was told, and close. */
  #linger(): void {
    this.#draining = true;
    this.deadlineAt = this.#deadlines.now + lingerMs;
  }

  /** Whoever makes work for nothing is sent away (CVE-2023-44487 and its like). */
  #annoy(): void {
    const now = this.#parts.clock.monotonic();
    const refilled = this.#patience + ((now - this.#patienceAt) / secondMs) * nuisance.perSecond;
    this.#patience = Math.min(nuisance.burst, refilled) - 1;
    this.#patienceAt = now;
    if (this.#patience < 0) this.#session.destroy(new Error('too much work for nothing'), reason.enhanceYourCalm);
  }

  #onStream(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    // before anything else, or what is wrong with a stream ends the process; errors are followed by 'close'
    stream.on('error', () => {});
    if (stream.closed) {
      this.onCancelled();
      return;
    }
    const giveBack = this.#serving.takeStream();
    if (giveBack === undefined) {
      stream.close(constants.NGHTTP2_REFUSED_STREAM);
      return;
    }
    stream.once('close', giveBack);
    const pipeline = this.#rested.pop() ?? this.#serving.pipelineOf();
    const ended = (flags & endStream) !== 0;
    const request = requestText(raw, ended, this.#serving.form);
    if (isAnswer(request)) {
      pipeline.refused(request);
      this.#rested.push(pipeline);
      this.#refuse(stream, request);
      return;
    }
    const bytes = new ServerStream(stream, request, this.#responseHead, this);
    const begin = () => {
      if (!stream.destroyed) this.#begin(bytes, pipeline);
    };
    if (ended) begin();
    // its body, or the first of it, is likely to come in the same turn
    else setImmediate(begin);
  }

  #begin(bytes: ServerStream, pipeline: Pipeline): void {
    this.deadlineAt = never;
    this.#open.set(new Downstream(this.#parts, bytes, pipeline, this.#onGone), pipeline);
    bytes.start();
  }

  readonly #onGone = (request: Downstream): void => {
    const pipeline = this.#open.get(request);
    if (pipeline !== undefined) this.#rested.push(pipeline);
    this.#open.delete(request);
    if (this.#open.size === 0) this.deadlineAt = this.#deadlines.now + (this.#draining ? lingerMs : idleMs);
  };

  /** Answers what is no request without asking anybody. */
  #refuse(stream: ServerHttp2Stream, answer: LocalAnswer): void {
    const nothing = { head: '', contentLength: -1, chunked: false, toHead: false };
    const bytes = new ServerStream(stream, nothing, this.#responseHead, this);
    stream.resume();
    bytes.write(messageOfAnswer(answer, false, true));
    bytes.end();
  }
}

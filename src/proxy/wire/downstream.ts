import { Buffer } from 'node:buffer';
import { never, type Timed } from '../deadlines.ts';
import { grpcMessageOf, isGrpcType } from '../grpc.ts';
import { answerRefusal, type LocalAnswer, messageOfAnswer, requestTimeout } from '../respond.ts';
import type { Upstream } from '../upstream/connection.ts';
import type { Pool } from '../upstream/pool.ts';
import { Body } from './body.ts';
import type { ByteStream } from './byte-stream.ts';
import { ClientSocket, type ClientSocketEvents, heldFor } from './client-socket.ts';
import type { DownstreamParts } from './downstream-parts.ts';
import { type Admission, Exchange, type Pipeline, type Resume } from './exchange.ts';
import { valueText } from './fields.ts';
import { type Client, Forward } from './forward.ts';
import { type Head, incomplete, maxHeadBytes } from './head.ts';
import { isHttp2 } from './http2-preface.ts';
import { method, traitsOf } from './methods.ts';
import { parseRequest } from './parse.ts';
import { refuse } from './refusals.ts';
import { RequestCopies } from './request-copies.ts';
import { forwardedHead, joined, upgradeLines } from './rewrite.ts';
import { Tunnel } from './upgrade.ts';

/** The rest of a body that a local answer did not want is read and forgotten up to this size; beyond, the connection is closed. */
const maxDiscardBytes = 64 * 1024;

const lineFeed = 10;

/** What the connection is about: `head` waits for a request, `exchange` has one open, `discard` skips an unwanted body. */
type State = 'head' | 'exchange' | 'discard' | 'tunnel' | 'closing';

/**
 * One client's HTTP/1.1 connection: reads requests one at a time, asks its pipeline about each, and forwards or answers.
 * What is pipelined behind an open request waits, at most one read of it. (Longer than other files: one state machine.)
 */
export class Downstream implements Client, ClientSocketEvents, Timed {
  deadlineAt: number;
  readonly exchange = new Exchange();
  toHead = false;
  isGrpc = false;
  asksWebSocket = false;
  minor = 1;
  readonly #parts: DownstreamParts;
  readonly #socket: ClientSocket;
  readonly #pipeline: Pipeline;
  readonly #onGone: (connection: Downstream) => void;
  readonly #onHttp2: ((early: Buffer) => void) | undefined;
  readonly #body = new Body();
  readonly #forward: Forward;
  readonly #copies: RequestCopies;
  #state: State = 'head';
  #close = false;
  /** The client has closed its side; what it sent before is still answered. */
  #inputEnded = false;
  #expectsContinue = false;
  /** A request head of which more is to come. */
  #partial: Buffer | undefined;
  /** What is pipelined behind the open request. */
  #queued: Buffer | undefined;
  #readingOn = false;
  /** What the pipeline waits for before it decides about the open request. */
  #waitsFor: Promise<Resume> | undefined;

  /** `onHttp2` takes over a connection that turns out to speak HTTP/2, with what was read of it; absent: it is refused. */
  constructor(
    parts: DownstreamParts,
    socket: ByteStream,
    pipeline: Pipeline,
    onGone: (connection: Downstream) => void,
    onHttp2?: (early: Buffer) => void,
  ) {
    this.#parts = parts;
    this.#pipeline = pipeline;
    this.#onGone = onGone;
    this.#onHttp2 = onHttp2;
    this.#forward = new Forward(this, parts);
    this.#copies = new RequestCopies(parts.mirrors);
    this.exchange.source = pipeline.source ?? '';
    this.deadlineAt = parts.deadlines.now + parts.timeouts.idleMs;
    parts.deadlines.add(this);
    this.#socket = new ClientSocket(socket, this);
  }

  get requestDone(): boolean {
    return this.#body.done;
  }

  /** Will the connection be closed behind the present answer? A client that has ended its side may still wait for several. */
  get closing(): boolean {
    return this.#close || (this.#inputEnded && this.#queued === undefined);
  }

  /**
   * Ends the connection behind the answer to its present request, or to the next one if that comes soon: it may be on its way, and
   * a client must not find its request unanswered.
   */
  drain(): void {
    this.#close = true;
    if (this.#state === 'head' && this.#partial === undefined) {
      this.deadlineAt = this.#parts.deadlines.now + this.#parts.timeouts.drainIdleMs;
    }
  }

  /** When its time is up, while it waits for a request or for the rest of a head. */
  get waitsUntil(): number {
    return this.#state === 'head' ? this.deadlineAt : never;
  }

  giveWay(): void {
    this.#state = 'closing';
    this.#socket.destroy();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  // --- from the socket ---

  onClientData(bytes: Buffer): void {
    switch (this.#state) {
      case 'head':
        if (this.#partial === undefined) this.#readNext(bytes);
        else this.#readHead(Buffer.concat([this.#partial, bytes]), bytes);
        return;
      case 'exchange':
      case 'discard':
        this.#readBody(bytes);
        return;
      case 'tunnel':
      case 'closing':
        return;
      default:
        this.#state satisfies never;
    }
  }

  onClientDrain(): void {
    if (this.#state === 'exchange') this.#forward.onClientDrain();
    else this.#readOn();
  }

  onClientEnd(): void {
    this.#inputEnded = true;
    if (this.#state === 'head' && this.#queued === undefined) this.#endGently();
    else if (this.#state !== 'closing' && (!this.#socket.halfOpen || !this.#body.done)) this.#socket.destroy();
  }

  onClientFinish(): void {
    if (this.#state === 'closing') this.deadlineAt = this.#parts.deadlines.now + this.#parts.timeouts.lingerMs;
  }

  onClientClose(): void {
    this.#parts.deadlines.delete(this);
    if (this.#state === 'exchange') {
      this.#forward.abort();
      this.exchange.flag = 'DC';
      this.#account();
    }
    this.#state = 'closing';
    this.#onGone(this);
  }

  onDeadline(): void {
    if (this.#state === 'exchange') this.#forward.timeOut();
    else if (this.#state === 'head' && this.#partial !== undefined) this.#refuse(requestTimeout);
    else if (this.#state === 'head') this.#endGently();
    else this.#socket.destroy();
  }

  // --- from the exchange ---

  closeAfterwards(): void {
    this.#close = true;
  }

  write(data: string | Buffer, done?: () => void): boolean {
    return this.#socket.write(data, done);
  }

  holdRequest(): void {
    this.#socket.hold(heldFor.upstream);
  }

  moreRequest(): void {
    this.#socket.letGo(heldFor.upstream);
  }

  progress(): void {
    this.deadlineAt = this.#parts.deadlines.now + this.#parts.timeouts.streamIdleMs;
  }

  answer(answer: LocalAnswer): void {
    const body = this.#body;
    // a client that waits for 100 may or may not send its body after a refusal: its next bytes cannot be told apart
    const skips = body.framing === 'length' && body.left <= maxDiscardBytes && !this.#expectsContinue;
    if (!body.done && !skips) this.#close = true;
    this.exchange.status = answer.status;
    if (this.exchange.flag === '-') this.exchange.flag = answer.flag;
    if (this.isGrpc) this.#socket.write(grpcMessageOf(answer, this.closing));
    else {
      if (!this.toHead) this.exchange.bytesSent += answer.bodyBytes;
      this.#socket.write(messageOfAnswer(answer, this.toHead, this.closing));
    }
    if (body.done || this.#close) this.responseDone();
    else {
      this.#account();
      this.#state = 'discard';
      this.#socket.letGo(heldFor.upstream);
    }
  }

  responseDone(): void {
    this.#account();
    if (this.#body.done) this.#next();
    else this.#endGently();
  }

  cutOff(): void {
    this.#account();
    this.#state = 'closing';
    this.#socket.destroy();
  }

  upgrade(upstream: Upstream, pool: Pool, rest: Buffer): void {
    const { deadlines, timeouts, writeBuffers } = this.#parts;
    const onClosed = () => {
      this.#account();
      this.onClientClose();
    };
    const { exchange } = this;
    const parts = { deadlines, writeBuffers, exchange, client: this.#socket, upstream, pool, onClosed };
    const early = this.#queued;
    this.#queued = undefined;
    this.#state = 'tunnel';
    this.deadlineAt = never;
    new Tunnel(parts, timeouts.streamIdleMs).start(early, rest);
  }

  // --- reading ---

  /** The next request, which waits while the client has not taken the answers it has. */
  #readNext(bytes: Buffer): void {
    if (this.#socket.isFull) this.#keep(bytes);
    else this.#readHead(bytes, bytes);
  }

  /** Looks for a request head in `bytes`, of which `piece` is new. */
  #readHead(bytes: Buffer, piece: Buffer): void {
    // a head in pieces is looked at again only when a line may have ended, so that single bytes cost little
    const look = bytes === piece || bytes.length >= maxHeadBytes || piece.includes(lineFeed);
    const head = this.#parts.requestHead;
    const end = look ? parseRequest(head, bytes, 0, bytes.length) : incomplete;
    if (end === incomplete && bytes.length < maxHeadBytes) {
      if (this.#partial === undefined) this.deadlineAt = this.#parts.deadlines.now + this.#parts.timeouts.headMs;
      this.#partial = bytes;
      return;
    }
    this.#partial = undefined;
    if (end < 0 && this.#onHttp2 !== undefined && isHttp2(bytes)) this.#handOver(bytes, this.#onHttp2);
    else if (end < 0) this.#refuse(answerRefusal(end));
    else if (end === incomplete || end > maxHeadBytes) this.#refuse(answerRefusal(refuse.tooLarge));
    else this.#begin(head, bytes, end);
  }

  /** A whole head is there: the request goes through the pipeline, with as much of its body as came with it. */
  #begin(head: Head, bytes: Buffer, headEnd: number): void {
    const { exchange } = this;
    const body = this.#body;
    body.beginRequest(head);
    const end = body.take(bytes, headEnd, bytes.length);
    if (end < 0) {
      this.#refuse(answerRefusal(end));
      return;
    }
    const traits = traitsOf(bytes, head);
    this.#state = 'exchange';
    this.progress();
    exchange.reset(this.#parts.clock.monotonic());
    exchange.bytesReceived = end - headEnd;
    this.minor = head.minor;
    this.toHead = (traits & method.head) !== 0;
    this.isGrpc = head.contentType >= 0 && isGrpcType(valueText(head, bytes, head.contentType));
    this.asksWebSocket = head.webSocket && body.framing === 'none';
    this.#expectsContinue = head.expectContinue;
    if (head.close || head.minor === 0) this.#close = true;
    if (end < bytes.length) this.#keep(bytes.subarray(end));
    if (head.connect) {
      this.#connect(head, bytes);
      return;
    }
    this.#admit(this.#pipeline.admit(exchange, head, bytes), head, bytes, end, traits);
  }

  /** Does what the pipeline says of a request, of whose body as much is there as ends at `end`. */
  #admit(admission: Admission, head: Head, bytes: Buffer, end: number, traits: number): void {
    if (admission instanceof Promise) {
      this.#wait(admission, head, bytes, end, traits);
      return;
    }
    if (admission !== undefined) {
      this.answer(admission);
      return;
    }
    const { exchange } = this;
    const body = this.#body;
    const additions = this.asksWebSocket ? exchange.additions + upgradeLines : exchange.additions;
    const text = forwardedHead(head, bytes, exchange.startLine, additions, true);
    if (exchange.mirrors.length > 0) this.#copies.start(exchange, head, bytes, end, traits, body);
    this.#forward.start(joined(text, bytes, head.end, end), traits, body.framing !== 'none');
  }

  /** Others use the parser before the pipeline knows, so the head is parsed again then. */
  #wait(admission: Promise<Resume>, head: Head, bytes: Buffer, end: number, traits: number): void {
    this.#waitsFor = admission;
    if (!this.#body.done) this.holdRequest();
    void admission.then(resume => {
      if (this.#waitsFor !== admission) return;
      this.#waitsFor = undefined;
      if (!this.#body.done) this.moreRequest();
      parseRequest(head, bytes, 0, bytes.length);
      this.#admit(resume(head, bytes), head, bytes, end, traits);
    });
  }

  /** CONNECT (RFC 9110 section 9.3.6): the connection goes to another owner, or stays for the next request. */
  #connect(head: Head, bytes: Buffer): void {
    if (this.#pipeline.connect === undefined || head.chunked || head.contentLength > 0) {
      this.#refuse(answerRefusal(refuse.target));
      return;
    }
    const answer = this.#pipeline.connect(this.exchange, head, bytes);
    if (typeof answer !== 'function') {
      this.answer(answer);
      return;
    }
    this.#parts.deadlines.delete(this);
    this.#onGone(this);
    answer(this.#socket.release(), this.#queued);
  }

  #readBody(bytes: Buffer): void {
    const body = this.#body;
    const end = body.done ? 0 : body.take(bytes, 0, bytes.length);
    if (end < 0) {
      this.#breakOff(answerRefusal(end));
      return;
    }
    if (end < bytes.length) this.#keep(bytes.subarray(end));
    if (end === 0) return;
    this.exchange.bytesReceived += end;
    if (this.#state === 'exchange') {
      this.progress();
      const data = end < bytes.length ? bytes.subarray(0, end) : bytes;
      this.#copies.send(data, body.done);
      this.#forward.send(data);
    } else if (body.done) this.#next();
  }

  /** Keeps what is pipelined, and reads no more until it is its turn. */
  #keep(bytes: Buffer): void {
    this.#queued = this.#queued === undefined ? bytes : Buffer.concat([this.#queued, bytes]);
    this.#socket.hold(heldFor.pipelined);
  }

  /** Ready for another request. */
  #next(): void {
    if (this.closing) {
      this.#endGently();
      return;
    }
    this.#state = 'head';
    this.deadlineAt = this.#parts.deadlines.now + this.#parts.timeouts.idleMs;
    this.#readOn();
  }

  /** Looks at what is pipelined; a loop, since many requests may be answered without waiting. */
  #readOn(): void {
    if (this.#readingOn) return;
    this.#readingOn = true;
    while (this.#state === 'head' && this.#queued !== undefined && !this.#socket.isFull) {
      const bytes = this.#queued;
      this.#queued = undefined;
      this.#socket.letGo(heldFor.pipelined);
      this.#readHead(bytes, bytes);
    }
    this.#readingOn = false;
  }

  // --- ending ---

  /** What was read is no request: says so and closes, since nobody knows where the next one would begin. */
  #refuse(answer: LocalAnswer): void {
    this.#pipeline.refused(answer);
    this.#socket.write(messageOfAnswer(answer, false, true));
    this.#endGently();
  }

  /** The client speaks HTTP/2 with prior knowledge (RFC 9113 section 3.3); `early` is what it has said. */
  #handOver(early: Buffer, onHttp2: (early: Buffer) => void): void {
    this.#parts.deadlines.delete(this);
    this.#state = 'closing';
    this.#socket.release();
    this.#onGone(this);
    onHttp2(early);
  }

  /** The body of the open request turned out to be no body. */
  #breakOff(answer: LocalAnswer): void {
    const canAnswer = this.#state === 'exchange' && !this.#forward.hasBegun;
    if (this.#state === 'exchange') this.#forward.abort();
    this.#close = true;
    if (canAnswer) this.answer(answer);
    else this.cutOff();
  }

  #account(): void {
    this.#waitsFor = undefined;
    this.#copies.drop();
    if (this.#state === 'exchange' || this.#state === 'tunnel') this.#pipeline.account(this.exchange);
  }

  /** Closes the own side and lets the client read what it was sent before the connection goes. */
  #endGently(): void {
    this.#state = 'closing';
    this.#partial = this.#queued = undefined;
    this.progress();
    this.#socket.end();
    this.#socket.letGoAll();
  }
}

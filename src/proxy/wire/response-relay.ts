import { Buffer } from 'node:buffer';
import { httpStatusOf } from '../grpc.ts';
import { Body } from './body.ts';
import type { Exchange } from './exchange.ts';
import { dropNamed, fieldNamed } from './fields.ts';
import { type Head, incomplete, maxHeadBytes } from './head.ts';
import { parseResponse } from './parse.ts';
import { forwardedHead, goesAsItCame, upgradeLines } from './rewrite.ts';
import type { Sink, WriteBuffers } from './write-buffers.ts';

/** The client's side of a response. */
export interface ResponseClient extends Sink {
  readonly exchange: Exchange;
  readonly toHead: boolean;
  /** Is it a call of gRPC, whose outcome may stand beside the status? */
  readonly isGrpc: boolean;
  readonly asksWebSocket: boolean;
  /** Has the whole request been read? */
  readonly requestDone: boolean;
  /** The minor version of HTTP/1 that the client speaks. */
  readonly minor: number;
  /** Will the connection be closed after this answer? */
  readonly closing: boolean;
  closeAfterwards(): void;
}

/** What all responses of a proxy share. */
export interface ResponseParts {
  /** Used by one response at a time, and never across turns of the event loop. */
  readonly responseHead: Head;
  readonly writeBuffers: WriteBuffers;
}

/** How a response stands after some bytes of it. */
export type RelayStep =
  | 'more'
  | 'stalled'
  | 'done'
  | 'done-reusable'
  | 'upgraded'
  | 'discarded'
  | 'discarded-reusable'
  | 'bad';

/** Who may have a better idea than to pass a response on; asked once its head is there. `refused`: no application has seen the request. */
export interface ResponseJudge {
  discards(head: Head, bytes: Buffer, refused: boolean): boolean;
}

const closeLine = 'connection: close\r\n';
/** A response may be preceded by at most this many of status 1xx. */
const maxInformational = 16;

/**
 * Reads one response after another from upstream bytes and writes it to the client as it comes, never a byte behind its
 * end. Holds nothing but a head that comes in pieces.
 */
export class ResponseRelay {
  /** The final response head has been written to the client. */
  begun = false;
  /** The status by which the host is judged: that of the response, or what its `grpc-status` stands for. */
  outcome = 0;
  readonly #client: ResponseClient;
  readonly #head: Head;
  readonly #buffers: WriteBuffers;
  readonly #judge: ResponseJudge;
  readonly #body = new Body();
  #pieces: Buffer | undefined;
  #informational = 0;
  #reusable = false;
  #dechunks = false;
  #surplusStart = 0;

  constructor(client: ResponseClient, { responseHead, writeBuffers }: ResponseParts, judge: ResponseJudge) {
    this.#client = client;
    this.#head = responseHead;
    this.#buffers = writeBuffers;
    this.#judge = judge;
  }

  /** Has anything of a response come? */
  get touched(): boolean {
    return this.begun || this.#pieces !== undefined || this.#informational > 0;
  }

  /** Behind `upgraded`: where in the given bytes the new protocol begins. */
  get upgradedAt(): number {
    return this.#surplusStart;
  }

  reset(): void {
    this.begun = this.#dechunks = false;
    this.#pieces = undefined;
    this.#informational = 0;
  }

  /** Takes the next bytes of the response. */
  take(bytes: Buffer, limit: number): RelayStep {
    return this.begun ? this.#relayBody(bytes, 0, limit) : this.#readHead(bytes, limit);
  }

  /** The upstream side has ended: is the response whole by that? */
  isWholeAtEnd(): boolean {
    return this.begun && this.#body.framing === 'until-close';
  }

  #readHead(piece: Buffer, length: number): RelayStep {
    const bytes = this.#pieces === undefined ? piece : Buffer.concat([this.#pieces, piece.subarray(0, length)]);
    const limit = this.#pieces === undefined ? length : bytes.length;
    const head = this.#head;
    let from = 0;
    while (from < limit) {
      const end = parseResponse(head, bytes, from, limit);
      if (end < 0 || (end === incomplete ? limit : end) - from > maxHeadBytes) return 'bad';
      if (end === incomplete) {
        this.#pieces = Buffer.from(bytes.subarray(from, limit));
        return 'more';
      }
      if (head.status === 101) return this.#upgrade(bytes, length - (limit - end));
      if (head.status >= 200) return this.#begin(bytes, end, limit);
      if (++this.#informational > maxInformational) return 'bad';
      if (this.#client.minor > 0) this.#client.write(forwardedHead(head, bytes, '', '', false));
      from = end;
    }
    this.#pieces = undefined;
    return 'more';
  }

  /** The final response head is there: writes it with as much of the body as came with it. */
  #begin(bytes: Buffer, headEnd: number, limit: number): RelayStep {
    const client = this.#client;
    const head = this.#head;
    const body = this.#body;
    this.#pieces = undefined;
    // an encoding that HTTP/1.0 does not have
    if (head.chunked && head.minor === 0) return 'bad';
    body.beginResponse(head, client.toHead);
    this.outcome = client.isGrpc ? outcomeOf(head, bytes) : head.status;
    this.#reusable = !head.close && (head.minor === 1 || head.keepAlive) && body.framing !== 'until-close';
    const refused = head.isRefusal && this.outcome === 503;
    if ((refused || client.exchange.tries !== undefined) && this.#judge.discards(head, bytes, refused)) {
      const end = body.take(bytes, headEnd, limit);
      return this.#reusable && body.done && end === limit ? 'discarded-reusable' : 'discarded';
    }
    const { responseDrops } = client.exchange;
    if (responseDrops.length > 0) for (const name of responseDrops) dropNamed(head, bytes, name);
    this.#dechunks = body.framing === 'chunked' && client.minor === 0;
    // behind an answer that comes before the end of its request nobody can say where the next one begins
    if (body.framing === 'until-close' || this.#dechunks || !client.requestDone) client.closeAfterwards();
    if (this.#dechunks) return this.#beginWithoutChunks(bytes, headEnd, limit);
    const end = body.take(bytes, headEnd, limit);
    if (end < 0) return 'bad';
    const additions = client.exchange.responseAdditions + (client.closing ? closeLine : '');
    const framed = head.status !== 204;
    this.begun = true;
    client.exchange.status = head.status;
    client.exchange.bytesSent += end - headEnd;
    const flows = goesAsItCame(head, additions, framed)
      ? this.#buffers.write(client, '', bytes, head.start, end)
      : this.#buffers.write(client, forwardedHead(head, bytes, '', additions, framed), bytes, headEnd, end);
    return this.#stepAfter(flows, end < limit);
  }

  #relayBody(bytes: Buffer, from: number, limit: number): RelayStep {
    if (this.#dechunks) return this.#relayChunkData(bytes, from, limit);
    const end = this.#body.take(bytes, from, limit);
    if (end < 0) return 'bad';
    this.#client.exchange.bytesSent += end - from;
    return this.#stepAfter(this.#buffers.write(this.#client, '', bytes, from, end), end < limit);
  }

  /** For a client of HTTP/1.0, which knows no chunks: their data alone, up to the end of the connection. */
  #beginWithoutChunks(bytes: Buffer, headEnd: number, limit: number): RelayStep {
    const head = this.#head;
    head.chunked = false;
    head.rewrite = true;
    this.begun = true;
    this.#client.exchange.status = head.status;
    const additions = this.#client.exchange.responseAdditions + closeLine;
    const flows = this.#client.write(forwardedHead(head, bytes, '', additions, true));
    return headEnd < limit ? this.#relayChunkData(bytes, headEnd, limit) : this.#stepAfter(flows, false);
  }

  #relayChunkData(bytes: Buffer, from: number, limit: number): RelayStep {
    const { chunks } = this.#body;
    let flows = true;
    let p = from;
    while (p < limit && !chunks.done) {
      p = chunks.step(bytes, p, limit);
      if (p < 0) return 'bad';
      if (chunks.dataStart === chunks.dataEnd) continue;
      this.#client.exchange.bytesSent += chunks.dataEnd - chunks.dataStart;
      flows = this.#buffers.write(this.#client, '', bytes, chunks.dataStart, chunks.dataEnd);
    }
    this.#body.done = chunks.done;
    return this.#stepAfter(flows, p < limit);
  }

  /** Bytes behind the end are never passed on, and the connection that sent them is not used again. */
  #stepAfter(flows: boolean, surplus: boolean): RelayStep {
    if (this.#body.done) return this.#reusable && !surplus ? 'done-reusable' : 'done';
    return flows ? 'more' : 'stalled';
  }

  #upgrade(bytes: Buffer, surplusStart: number): RelayStep {
    if (!this.#client.asksWebSocket || !this.#head.webSocket) return 'bad';
    this.#surplusStart = surplusStart;
    this.#client.exchange.status = 101;
    this.#client.write(forwardedHead(this.#head, bytes, '', upgradeLines, false));
    return 'upgraded';
  }
}

/** As in Envoy, trailers are too late to tell of a host: a failure that it knows of at once stands in the head. */
function outcomeOf(head: Head, bytes: Buffer): number {
  const status = fieldNamed(head, bytes, 'grpc-status');
  return (status === undefined ? undefined : httpStatusOf(status)) ?? head.status;
}

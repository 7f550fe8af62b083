import { Buffer } from 'node:buffer';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import { answerUnavailable, messageOfAnswer, type Unavailable } from '../respond.ts';
import type { Upstream, UpstreamUser } from '../upstream/connection.ts';
import { connected } from '../upstream/pool.ts';
import type { ByteStream } from './byte-stream.ts';
import { ClientSocket, type ClientSocketEvents, heldFor } from './client-socket.ts';
import type { Exchange } from './exchange.ts';
import { HostSearch } from './host-search.ts';
import { Tunnel } from './upgrade.ts';
import type { WriteBuffers } from './write-buffers.ts';

export interface TcpParts {
  readonly deadlines: Deadlines;
  readonly writeBuffers: WriteBuffers;
  /** Without a byte in either direction; milliseconds. */
  readonly idleMs: number;
  /** For a client to close after it has been told why there is no connection. */
  readonly lingerMs: number;
}

/** What becomes of one connection. */
export interface TcpTerms {
  /** Its target is where the connection goes. */
  readonly exchange: Exchange;
  /** What has been read of the client. */
  readonly early?: Buffer | undefined;
  /** The client asked by CONNECT: it is told in HTTP that the other side is there, or why it is not. */
  readonly asksInHttp: boolean;
  /** The connection is over. */
  readonly onOver: () => void;
}

/** The answer to a CONNECT that has what it asked for. */
export const connectionEstablished = 'HTTP/1.1 200 Connection established\r\n\r\n';
const nothing = Buffer.alloc(0);

/**
 * Carries one TCP connection: opens one to a host of the target, to another one while that fails, and joins the two. Nothing is
 * read of the client before. `stream` may come paused.
 */
export class TcpConnection implements UpstreamUser, ClientSocketEvents, Timed {
  deadlineAt = never;
  readonly #parts: TcpParts;
  readonly #terms: TcpTerms;
  readonly #client: ClientSocket;
  #early: Buffer | undefined;
  readonly #hosts = new HostSearch();

  constructor(parts: TcpParts, stream: ByteStream, terms: TcpTerms) {
    this.#parts = parts;
    this.#terms = terms;
    this.#early = terms.early;
    this.#client = new ClientSocket(stream, this);
    this.#client.hold(heldFor.upstream);
    parts.deadlines.add(this);
    // nothing is read of it, so a client that leaves its place in a queue is not seen to go
    this.deadlineAt = parts.deadlines.now + parts.idleMs;
    this.#acquire('no-healthy-upstream');
  }

  // --- the upstream side ---

  get source(): string {
    return this.#terms.exchange.source;
  }

  onReady(upstream: Upstream): void {
    const { deadlines, writeBuffers, idleMs } = this.#parts;
    const { exchange, asksInHttp, onOver } = this.#terms;
    const { pool } = this.#hosts;
    if (pool === undefined) return;
    deadlines.delete(this);
    pool.report(connected);
    if (asksInHttp) this.#client.write(connectionEstablished);
    const parts = { deadlines, writeBuffers, exchange, client: this.#client, upstream, pool, onClosed: onOver };
    new Tunnel(parts, idleMs).start(this.#early, nothing);
  }

  onUnavailable(why: Unavailable): void {
    this.#hosts.leave();
    this.#acquire(why);
  }

  onBytes(): void {}

  onDrain(): void {}

  onEnd(): void {}

  onClosed(): void {}

  // --- the client, while there is no other side ---

  onClientData(bytes: Buffer): void {
    this.#early = this.#early === undefined ? bytes : Buffer.concat([this.#early, bytes]);
  }

  onClientDrain(): void {}

  onClientEnd(): void {}

  onClientFinish(): void {}

  onClientClose(): void {
    this.#parts.deadlines.delete(this);
    this.#hosts.done()?.cancel(this);
    if (this.#terms.exchange.flag === '-') this.#terms.exchange.flag = 'DC';
    this.#terms.onOver();
  }

  onDeadline(): void {
    this.#client.destroy();
  }

  #acquire(reason: Unavailable): void {
    const refused = this.#hosts.search(this, this.#terms.exchange, true, reason);
    if (refused !== undefined) this.#fail(refused);
  }

  #fail(why: Unavailable): void {
    const { exchange, asksInHttp } = this.#terms;
    const answer = answerUnavailable(why);
    exchange.flag = answer.flag;
    if (!asksInHttp) {
      this.#client.abort();
      return;
    }
    exchange.status = answer.status;
    this.#client.write(messageOfAnswer(answer, false, true));
    this.#client.end();
    this.#client.letGoAll();
    this.deadlineAt = this.#parts.deadlines.now + this.#parts.lingerMs;
  }
}

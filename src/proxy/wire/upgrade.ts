import type { Buffer } from 'node:buffer';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import type { Upstream, UpstreamUser } from '../upstream/connection.ts';
import type { Pool } from '../upstream/pool.ts';
import { type ClientSocket, type ClientSocketEvents, heldFor } from './client-socket.ts';
import type { Exchange } from './exchange.ts';
import type { WriteBuffers } from './write-buffers.ts';

export interface TunnelParts {
  readonly deadlines: Deadlines;
  readonly writeBuffers: WriteBuffers;
  readonly exchange: Exchange;
  readonly client: ClientSocket;
  readonly upstream: Upstream;
  readonly pool: Pool;
  /** Called once, when both connections are done with. */
  readonly onClosed: () => void;
}

/**
 * After `101 Switching Protocols`, and for TCP from the start: bytes go both ways as they come, each way ends by itself, a slow
 * side slows the other. A side that breaks takes the other with it; one that has ended both ways lets the other finish.
 */
export class Tunnel implements UpstreamUser, ClientSocketEvents, Timed {
  deadlineAt = never;
  readonly #parts: TunnelParts;
  readonly #idleMs: number;
  #paused = false;
  #clientEnded = false;
  #upstreamEnded = false;
  #clientGone = false;
  #upstreamGone = false;

  constructor(parts: TunnelParts, idleMs: number) {
    this.#parts = parts;
    this.#idleMs = parts.pool.tunnelIdleMs ?? idleMs;
  }

  /** Takes over both sockets; `early` and `rest` are what client and upstream side have sent behind the heads. */
  start(early: Buffer | undefined, rest: Buffer): void {
    this.#parts.deadlines.add(this);
    this.#parts.client.events = this;
    this.#parts.upstream.user = this;
    this.#parts.client.letGoAll();
    if (rest.length > 0) this.onBytes(rest, rest.length);
    if (early !== undefined) this.onClientData(early);
    this.#progress();
  }

  get source(): string {
    return this.#parts.exchange.source;
  }

  // --- the client's socket ---

  onClientData(bytes: Buffer): void {
    this.#progress();
    this.#parts.exchange.bytesReceived += bytes.length;
    if (!this.#parts.upstream.write(bytes)) this.#parts.client.hold(heldFor.upstream);
  }

  onClientDrain(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#parts.upstream.resume();
  }

  onClientEnd(): void {
    this.#clientEnded = true;
    this.#parts.upstream.endWriting();
  }

  onClientFinish(): void {}

  onClientClose(): void {
    this.#clientGone = true;
    // what it sent before its end is still on its way
    if (!this.#clientEnded || !this.#upstreamEnded) this.#dropUpstream();
    this.#finish();
  }

  // --- the upstream connection, which is there from the start ---

  onReady(): void {}

  onUnavailable(): void {}

  onBytes(bytes: Buffer, length: number): void {
    this.#progress();
    this.#parts.exchange.bytesSent += length;
    const { client, upstream, writeBuffers } = this.#parts;
    if (writeBuffers.write(client, '', bytes, 0, length)) return;
    this.#paused = true;
    upstream.pause();
  }

  onDrain(): void {
    this.#progress();
    this.#parts.client.letGo(heldFor.upstream);
  }

  onEnd(): void {
    this.#upstreamEnded = true;
    this.#parts.client.end();
  }

  onClosed(clean: boolean): void {
    this.#upstreamGone = true;
    if (!clean) this.#parts.client.abort();
    this.#finish();
  }

  onDeadline(): void {
    this.#dropUpstream();
    this.#parts.client.destroy();
  }

  #dropUpstream(): void {
    if (this.#upstreamGone) return;
    this.#upstreamGone = true;
    this.#parts.pool.release(this.#parts.upstream, false);
  }

  #finish(): void {
    if (!this.#clientGone || !this.#upstreamGone) return;
    this.#parts.deadlines.delete(this);
    this.#parts.onClosed();
  }

  #progress(): void {
    this.deadlineAt = this.#parts.deadlines.now + this.#idleMs;
  }
}

import type { Buffer } from 'node:buffer';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import type { Unavailable } from '../respond.ts';
import type { ByteStream } from '../wire/byte-stream.ts';

/** Who uses an upstream connection at the moment: one request, or a tunnel. */
export interface UpstreamUser {
  /** For whom, where nobody may have a host for himself; empty or absent where that does not matter. */
  readonly source?: string;
  /** A connection is there; may be called before `acquire` returns. */
  onReady(upstream: Upstream): void;
  /** None will come. */
  onUnavailable(why: Unavailable): void;
  /** `bytes` up to `length` are only valid during the call. */
  onBytes(bytes: Buffer, length: number): void;
  onDrain(): void;
  /** The other side sends no more. */
  onEnd(): void;
  /** The connection is gone; `clean` when both sides had ended it. */
  onClosed(clean: boolean): void;
}

/** Hears of one connection from its opening to its end. */
export interface ConnectionEvents {
  /**
   * It may be written to, and the other side is who it should be; may be called before `connect` returns. `joins` tells that it runs
   * over what was open before, which the other side may just be closing.
   */
  onConnected(stream: ByteStream, joins?: boolean): void;
  /** `bytes` up to `length` are only valid during the call. */
  onBytes(length: number, bytes: Buffer): boolean;
  /** The other side asks that it be used for no further request. */
  onRetired(): void;
  /** It is gone, or never came to be; never called before `connect` returns. */
  onClosed(hadError: boolean): void;
}

/** How to open connections to one host, whatever they run over. */
export interface Connector {
  /** Opens a connection, if `fresh` over nothing that is open already; what it returns can be given up until it is connected. */
  connect(events: ConnectionEvents, fresh: boolean): { destroy(): unknown };
  /** Closes whatever may stay no longer, after trust has changed. */
  recheck(): void;
  /** Keeps nothing open for connections to come. */
  close(): void;
}

/** Who owns a connection and hears of its fate. */
export interface UpstreamOwner {
  onConnectionReady(upstream: Upstream): void;
  /** It is about to close and must not be handed out. */
  onConnectionSpent(upstream: Upstream): void;
  /** `user` had it when it closed; it is told by the connection itself. */
  onConnectionClosed(upstream: Upstream, user: UpstreamUser | undefined, wasReady: boolean): void;
}

/** One connection to an upstream host, used by one request after another. */
export class Upstream implements ConnectionEvents, Timed {
  deadlineAt = never;
  user: UpstreamUser | undefined;
  /** How many users it has had before the present one. */
  served = 0;
  /** Not to be used again. */
  retired = false;
  /** Monotonic milliseconds. */
  readonly openedAt: number;
  readonly #owner: UpstreamOwner;
  readonly #deadlines: Deadlines;
  #cancelTimeout: (() => void) | undefined;
  #opening: { destroy(): unknown } | undefined;
  #stream: ByteStream | undefined;
  #ended = false;
  #gathers = false;
  #joins = false;

  constructor(owner: UpstreamOwner, deadlines: Deadlines) {
    this.#owner = owner;
    this.#deadlines = deadlines;
    this.openedAt = deadlines.now;
  }

  open(connector: Connector, timeoutMs: number, fresh: boolean): void {
    this.#deadlines.add(this);
    this.#opening = connector.connect(this, fresh);
    if (this.#stream === undefined) this.#cancelTimeout = this.#deadlines.after(timeoutMs, () => this.destroy());
  }

  /** Was it, or what it runs over, there before its present user? Then the other side may just be closing it. */
  get mayBeStale(): boolean {
    return this.served > 0 || this.#joins;
  }

  /** The other side took nothing of what was sent to it. */
  get refused(): boolean {
    return this.#stream?.refused === true;
  }

  /** False when it is better to wait for `onDrain` before writing more. */
  write(data: string | Buffer): boolean {
    const stream = this.#stream;
    if (stream === undefined) return true;
    return typeof data === 'string' ? stream.write(data, 'latin1') : stream.write(data);
  }

  /** Has what is written in this turn of the event loop leave together at its end: a body comes in many small pieces. */
  gather(): void {
    if (this.#gathers || this.#stream?.cork === undefined) return;
    this.#gathers = true;
    this.#stream.cork();
    setImmediate(this.#sendGathered);
  }

  endWriting(): void {
    this.#stream?.end();
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  destroy(): void {
    this.#owner.onConnectionSpent(this);
    (this.#stream ?? this.#opening)?.destroy();
  }

  onDeadline(): void {
    this.destroy();
  }

  // --- from the connector ---

  onConnected(stream: ByteStream, joins = false): void {
    this.#stream = stream;
    this.#joins = joins;
    stream.on('drain', () => this.user?.onDrain());
    stream.on('end', () => this.#onEnd());
    this.#cancelTimeout?.();
    this.#owner.onConnectionReady(this);
  }

  onBytes(length: number, bytes: Buffer): boolean {
    // what nobody asked for must never reach the next user
    if (this.user === undefined) this.destroy();
    else this.user.onBytes(bytes, length);
    return true;
  }

  onRetired(): void {
    this.retired = true;
    if (this.user === undefined) this.destroy();
  }

  onClosed(hadError: boolean): void {
    this.#deadlines.delete(this);
    this.#cancelTimeout?.();
    const { user } = this;
    const wasReady = this.#stream !== undefined;
    this.user = undefined;
    this.#owner.onConnectionClosed(this, user, wasReady);
    if (wasReady) user?.onClosed(this.#ended && !hadError);
    else user?.onUnavailable('connection-failure');
  }

  readonly #sendGathered = (): void => {
    this.#gathers = false;
    this.#stream?.uncork?.();
  };

  #onEnd(): void {
    this.#ended = true;
    if (this.user === undefined) this.destroy();
    else this.user.onEnd();
  }
}

import type { Buffer } from 'node:buffer';
import { type Deadlines, never, type Timed } from '../deadlines.ts';
import type { Unavailable } from '../respond.ts';
import type { ByteStream } from '../wire/byte-stream.ts';

/** Who uses an upstream connection at the moment: one request, or a tunnel. */
export interface UpstreamUser {
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

/** How to open one connection, whatever it runs over. */
export interface Connector<Stream extends ByteStream = ByteStream> {
  /** Opens a connection that hands what it reads to `onBytes`. */
  connect(onBytes: (length: number, bytes: Buffer) => boolean): Stream;
  /** The event after which it may be written to. */
  readonly readyEvent: 'connect' | 'secureConnect';
  /** Is the other side who it should be? Asked once the socket is ready. */
  accepts(stream: Stream): boolean;
  /** May a connection that was accepted stay, after trust has changed? */
  mayStay(stream: Stream): boolean;
}

/** Who owns a connection and hears of its fate. */
export interface UpstreamOwner {
  onConnectionReady(upstream: Upstream): void;
  /** `user` had it when it closed; it is told by the connection itself. */
  onConnectionClosed(upstream: Upstream, user: UpstreamUser | undefined, wasReady: boolean): void;
}

/** One connection to an upstream host, used by one request after another. */
export class Upstream implements Timed {
  deadlineAt = never;
  user: UpstreamUser | undefined;
  /** How many users it has had before the present one: over 0, the other side may just be closing it. */
  served = 0;
  readonly #owner: UpstreamOwner;
  readonly #connector: Connector;
  readonly #socket: ByteStream;
  readonly #deadlines: Deadlines;
  #ready = false;
  #ended = false;

  constructor(owner: UpstreamOwner, connector: Connector, deadlines: Deadlines, connectTimeoutMs: number) {
    this.#owner = owner;
    this.#connector = connector;
    this.#deadlines = deadlines;
    deadlines.add(this);
    this.deadlineAt = deadlines.now + connectTimeoutMs;
    this.#socket = connector.connect(this.#onBytes);
    this.#socket.on(connector.readyEvent, () => {
      if (!connector.accepts(this.#socket)) return this.destroy();
      this.#ready = true;
      this.deadlineAt = never;
      owner.onConnectionReady(this);
    });
    this.#socket.on('drain', () => this.user?.onDrain());
    this.#socket.on('end', () => this.#onEnd());
    this.#socket.on('error', ignoreError);
    this.#socket.on('close', hadError => this.#onClose(hadError));
  }

  /** False when it is better to wait for `onDrain` before writing more. */
  write(data: string | Buffer): boolean {
    return typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data);
  }

  endWriting(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Closes it if the other side may stay no longer. */
  recheck(): void {
    if (this.#ready && !this.#connector.mayStay(this.#socket)) this.destroy();
  }

  onDeadline(): void {
    this.destroy();
  }

  readonly #onBytes = (length: number, bytes: Buffer): boolean => {
    // what nobody asked for must never reach the next user
    if (this.user === undefined) this.destroy();
    else this.user.onBytes(bytes, length);
    return true;
  };

  #onEnd(): void {
    this.#ended = true;
    if (this.user === undefined) this.destroy();
    else this.user.onEnd();
  }

  #onClose(hadError: boolean): void {
    this.#deadlines.delete(this);
    const { user } = this;
    this.user = undefined;
    this.#owner.onConnectionClosed(this, user, this.#ready);
    if (this.#ready) user?.onClosed(this.#ended && !hadError);
    else user?.onUnavailable('connection-failure');
  }
}

/** Errors are followed by 'close', which is acted on. */
function ignoreError(): void {}

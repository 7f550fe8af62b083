import type { Buffer } from 'node:buffer';
import type { ByteStream } from './byte-stream.ts';

/** Why a client is not read from; a bit each. */
export const heldFor = { upstream: 1, pipelined: 2, drain: 4 } as const;

export interface ClientSocketEvents {
  onClientData(bytes: Buffer): void;
  onClientDrain(): void;
  /** The client sends no more. */
  onClientEnd(): void;
  /** Everything that was written before the end has left. */
  onClientFinish(): void;
  onClientClose(): void;
}

/** Hears nothing: the connection is somebody else's. */
const nobody: ClientSocketEvents = {
  onClientData() {},
  onClientDrain() {},
  onClientEnd() {},
  onClientFinish() {},
  onClientClose() {},
};

/** The connection of a client, read from only while no reason speaks against it. */
export class ClientSocket {
  /** Who hears of it: the connection, or a tunnel that has taken over. */
  events: ClientSocketEvents;
  readonly #socket: ByteStream;
  #held = 0;

  constructor(socket: ByteStream, events: ClientSocketEvents) {
    this.events = events;
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.events.onClientData(bytes));
    socket.on('drain', () => this.events.onClientDrain());
    socket.on('end', () => this.events.onClientEnd());
    socket.on('finish', () => this.events.onClientFinish());
    // errors are followed by 'close'
    socket.on('error', () => {});
    socket.on('close', () => this.events.onClientClose());
  }

  /** Is more written than the client has taken? */
  get isFull(): boolean {
    return this.#socket.writableNeedDrain;
  }

  /** May a client that has ended its side still wait for an answer? Otherwise it has gone. */
  get halfOpen(): boolean {
    return this.#socket.allowHalfOpen;
  }

  /** `done` is called once a Buffer is needed no longer. */
  write(data: string | Buffer, done?: () => void): boolean {
    return typeof data === 'string' ? this.#socket.write(data, 'latin1') : this.#socket.write(data, done);
  }

  hold(reason: number): void {
    if (this.#held === 0) this.#socket.pause();
    this.#held |= reason;
  }

  letGo(reason: number): void {
    if (this.#held === 0) return;
    this.#held &= ~reason;
    if (this.#held === 0) this.#socket.resume();
  }

  /** Whatever it was held for no longer matters. */
  letGoAll(): void {
    this.letGo(this.#held);
  }

  /** Lets go of the connection for good, without closing it. */
  abandon(): void {
    this.events = nobody;
    this.#socket.pause();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }
}

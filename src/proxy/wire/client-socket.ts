import type { Buffer } from 'node:buffer';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ByteStream } from './byte-stream.ts';

/** Why a client is not read from; a bit each. */
export const heldFor = { upstream: 1, pipelined: 2 } as const;

export interface ClientSocketEvents {
  onClientData(bytes: Buffer): void;
  onClientDrain(): void;
  /** The client sends no more. */
  onClientEnd(): void;
  /** Everything that was written before the end has left. */
  onClientFinish(): void;
  onClientClose(): void;
}

/** The connection of a client, read from only while no reason speaks against it. */
export class ClientSocket {
  /** Who hears of it: the connection, or a tunnel that has taken over. */
  events: ClientSocketEvents;
  readonly #socket: ByteStream;
  #held = 0;

  constructor(socket: ByteStream, events: ClientSocketEvents) {
    this.events = events;
    this.#socket = socket;
    socket.on('data', this.#onData);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('finish', this.#onFinish);
    socket.on('error', ignoreError);
    socket.on('close', this.#onClose);
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

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Cuts the connection off so that the client can tell it from an end, where the transport has a way to say so. */
  abort(): void {
    abortStream(this.#socket);
  }

  /** Gives the connection away, paused: nothing is heard of it here any more. */
  release(): ByteStream {
    const socket = this.#socket;
    socket.pause();
    socket.off('data', this.#onData);
    socket.off('drain', this.#onDrain);
    socket.off('end', this.#onEnd);
    socket.off('finish', this.#onFinish);
    socket.off('close', this.#onClose);
    return socket;
  }

  readonly #onData = (bytes: Buffer): void => this.events.onClientData(bytes);
  readonly #onDrain = (): void => this.events.onClientDrain();
  readonly #onEnd = (): void => this.events.onClientEnd();
  readonly #onFinish = (): void => this.events.onClientFinish();
  readonly #onClose = (): void => this.events.onClientClose();
}

/** Errors are followed by 'close'. */
function ignoreError(): void {}

/** A reset for plain TCP; what runs in TLS is closed without its closing word. */
export function abortStream(stream: ByteStream): void {
  stream.on('error', ignoreError);
  if (stream instanceof Socket && !(stream instanceof TLSSocket)) stream.resetAndDestroy();
  else stream.destroy();
}

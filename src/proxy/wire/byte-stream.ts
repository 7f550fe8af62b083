import type { Buffer } from 'node:buffer';

/** Beyond so much that waits in a socket its other side is held back; from Node 22 on it is the default. */
export const highWaterMark = 64 * 1024;

/**
 * What the HTTP/1.1 engine needs of a connection, in Node's terms: a socket, plain or TLS, or one stream of a connection that
 * carries many. Events: `data` (Buffer), `drain`, `end`, `finish`, `error`, `close` (hadError). `error` is followed by `close`.
 */
export interface ByteStream {
  /** More is written than has left: wait for `drain`. */
  readonly writableNeedDrain: boolean;
  /** Does an end of the other side leave this one open? */
  readonly allowHalfOpen: boolean;
  /** Said when it closes: the other side took nothing of it, so that all of it may be sent elsewhere. */
  readonly refused?: boolean;
  /** False when it is better to wait for `drain` before writing more; `done` is called once the bytes are needed no longer, if ever. */
  write(data: Buffer, done?: () => void): boolean;
  write(data: string, encoding: 'latin1'): boolean;
  /** Keeps what is written from now on until `uncork`, to send it in one go. Absent where it is gathered anyway. */
  cork?(): unknown;
  uncork?(): unknown;
  pause(): unknown;
  resume(): unknown;
  end(): unknown;
  destroy(): unknown;
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'close', listener: (hadError: boolean) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: string, listener: () => void): unknown;
  off(event: 'data', listener: (bytes: Buffer) => void): unknown;
  off(event: string, listener: () => void): unknown;
}

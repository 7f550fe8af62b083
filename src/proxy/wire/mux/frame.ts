import type { Buffer } from 'node:buffer';

// The multiplexed connection between our own agents: many byte streams in one TLS connection, which the side that connected opens.
//
//   a frame    kind u8 | stream u24 | value u32, in network order; only `data` has a payload
//   open       the next stream, counted from 1                       value 0
//   data       `value` bytes follow, within the window of the stream
//   end        the sender writes no more to the stream               value 0
//   window     the other side may send so many bytes more
//   blocked    the sender has more to send than its window allows    value 0
//   reset      the stream is over, both ways                         value: a reset reason
//   ping       to be answered by pong                                stream 0, value 0
//   pong       the sender is here; also unasked, of much that comes  stream 0, value 0
//   goaway     the sender opens no more streams and asks the other   stream 0, value 0
//              side for none: each is to be closed when it is done
//
// Whatever is not so closes the connection.

/** The name by which it is chosen in the TLS handshake (ALPN); a change that an older agent would not understand is a new one. */
export const muxProtocol = 'mesolite/1';

export const frameKind = {
  open: 1,
  data: 2,
  end: 3,
  window: 4,
  blocked: 5,
  reset: 6,
  ping: 7,
  pong: 8,
  goaway: 9,
} as const;
/** Why a stream was reset; `refused`: nothing of it was taken. */
export const resetReason = { cancelled: 0, refused: 1 } as const;

export const headerBytes = 8;
export const maxFrameBytes = 64 * 1024;
export const maxStreamId = 0xff_ffff;
/** A stream begins with this window in each direction. */
export const initialWindowBytes = 64 * 1024;
/** No window may ever be larger. */
export const maxWindowBytes = 1024 * 1024;
/** Streams of one connection that may be open at once. */
export const maxStreams = 128;

/** A header as latin1 text, a character for each byte: it is sent in one string with what else there is to say. */
export function frameHeader(kind: number, stream: number, value: number): string {
  return String.fromCharCode(
    kind,
    stream >>> 16,
    (stream >>> 8) & 255,
    stream & 255,
    value >>> 24,
    (value >>> 16) & 255,
    (value >>> 8) & 255,
    value & 255,
  );
}

/** May a frame look like this, whatever came before? */
function isFrame(kind: number, stream: number, value: number): boolean {
  switch (kind) {
    case frameKind.data:
      return stream > 0 && value > 0 && value <= maxFrameBytes;
    case frameKind.window:
      return stream > 0 && value > 0 && value <= maxWindowBytes;
    case frameKind.open:
    case frameKind.end:
    case frameKind.blocked:
      return stream > 0 && value === 0;
    case frameKind.reset:
      return stream > 0 && value <= resetReason.refused;
    case frameKind.ping:
    case frameKind.pong:
    case frameKind.goaway:
      return stream === 0 && value === 0;
    default:
      return false;
  }
}

export interface FrameEvents {
  /** A frame has come; of `data` its header. False when it breaks a rule. */
  onFrame(kind: number, stream: number, value: number): boolean;
  /** The next part of the payload of the last `data` frame. */
  onPayload(bytes: Buffer, from: number, end: number): void;
}

/** Takes frames apart as they come, in whatever pieces; holds nothing but the piece of a header. */
export class FrameReader {
  readonly #events: FrameEvents;
  readonly #header = new Uint8Array(headerBytes);
  #headerLength = 0;
  #payloadLeft = 0;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** Takes the bytes from `from` to `limit`; false as soon as they break a rule. */
  read(bytes: Buffer, from: number, limit: number): boolean {
    let p = from;
    while (p < limit) {
      if (this.#payloadLeft > 0) {
        const end = Math.min(limit, p + this.#payloadLeft);
        this.#payloadLeft -= end - p;
        this.#events.onPayload(bytes, p, end);
        p = end;
      } else if (this.#headerLength === 0 && limit - p >= headerBytes) {
        if (!this.#begin(bytes, p)) return false;
        p += headerBytes;
      } else {
        this.#header[this.#headerLength++] = bytes[p++] ?? 0;
        if (this.#headerLength < headerBytes) continue;
        this.#headerLength = 0;
        if (!this.#begin(this.#header, 0)) return false;
      }
    }
    return true;
  }

  #begin(b: Uint8Array, p: number): boolean {
    const kind = b[p] ?? 0;
    const stream = ((b[p + 1] ?? 0) << 16) | ((b[p + 2] ?? 0) << 8) | (b[p + 3] ?? 0);
    const value = (((b[p + 4] ?? 0) << 24) | ((b[p + 5] ?? 0) << 16) | ((b[p + 6] ?? 0) << 8) | (b[p + 7] ?? 0)) >>> 0;
    if (!isFrame(kind, stream, value)) return false;
    if (kind === frameKind.data) this.#payloadLeft = value;
    return this.#events.onFrame(kind, stream, value);
  }
}

import { Buffer } from 'node:buffer';
import { parseFields } from './fields.ts';
import { Head, incomplete } from './head.ts';
import { headerKind } from './header-names.ts';
import { refuse } from './refusals.ts';

/** Trailers may have at most this many bytes. */
export const maxTrailerBytes = 8 * 1024;
/** A chunk has at most 4 GiB. */
const maxSizeDigits = 8;

/** Where the reader stands: at the digits of a size, behind them, in the data, behind the data, in the trailers. */
const at = { size: 0, sizeLf: 1, data: 2, dataCr: 3, dataLf: 4, trailers: 5, done: 6 } as const;

/**
 * Follows a chunked body (RFC 9112 section 7.1) as it passes, byte by byte strict: no chunk extensions, no bare LF, no
 * trailer that means framing, routing or identity. It never holds data; only trailers are gathered, up to their bound.
 */
export class Chunks {
  /** The data that the last `step` came to; empty when it came to none. */
  dataStart = 0;
  dataEnd = 0;
  #state: number = at.size;
  #digits = 0;
  #left = 0;
  #trailers: Buffer = Buffer.alloc(0);

  get done(): boolean {
    return this.#state === at.done;
  }

  /** Behind the end: the trailer section, with what may follow it; empty when there was none. */
  get trailers(): Buffer {
    return this.#trailers;
  }

  reset(): void {
    this.#state = at.size;
    this.#digits = 0;
    this.#left = 0;
    if (this.#trailers.length > 0) this.#trailers = Buffer.alloc(0);
  }

  /** Takes all that belongs to the body; returns the offset behind it (the limit, unless done) or a refusal. */
  take(bytes: Buffer, from: number, limit: number): number {
    let p = from;
    while (p < limit && this.#state !== at.done) {
      p = this.step(bytes, p, limit);
      if (p < 0) return p;
    }
    return p;
  }

  /** Takes framing up to and with one run of data; returns the offset behind it or a refusal. */
  step(bytes: Buffer, from: number, limit: number): number {
    let p = from;
    this.dataStart = this.dataEnd = from;
    while (p < limit) {
      if (this.#state === at.data) return this.#takeData(p, limit);
      if (this.#state === at.trailers) return this.#takeTrailers(bytes, p, limit);
      if (this.#state === at.done) return p;
      if (!this.#takeFraming(bytes[p] ?? 0)) return refuse.chunk;
      p++;
    }
    return p;
  }

  #takeData(from: number, limit: number): number {
    const length = Math.min(this.#left, limit - from);
    this.#left -= length;
    if (this.#left === 0) this.#state = at.dataCr;
    this.dataStart = from;
    this.dataEnd = from + length;
    return this.dataEnd;
  }

  /** One byte of a size line, or of the line end behind data; false when it may not be there. */
  #takeFraming(c: number): boolean {
    switch (this.#state) {
      case at.size:
        if (c === 13 && this.#digits > 0) this.#state = at.sizeLf;
        else return this.#takeDigit(c);
        return true;
      case at.sizeLf:
        this.#state = this.#left === 0 ? at.trailers : at.data;
        this.#digits = 0;
        return c === 10;
      case at.dataCr:
        this.#state = at.dataLf;
        return c === 13;
      default:
        this.#state = at.size;
        return c === 10;
    }
  }

  #takeDigit(c: number): boolean {
    const digit = c >= 48 && c <= 57 ? c - 48 : (c | 32) >= 97 && (c | 32) <= 102 ? (c | 32) - 87 : -1;
    if (digit < 0 || ++this.#digits > maxSizeDigits) return false;
    this.#left = this.#left * 16 + digit;
    return true;
  }

  /** The trailer section; nearly always the bare empty line. */
  #takeTrailers(bytes: Buffer, from: number, limit: number): number {
    if (this.#trailers.length === 0 && bytes[from] === 13 && bytes[from + 1] === 10 && from + 1 < limit) {
      this.#state = at.done;
      return from + 2;
    }
    const before = this.#trailers.length;
    const room = Math.min(limit, from + maxTrailerBytes - before);
    this.#trailers = Buffer.concat([this.#trailers, bytes.subarray(from, room)]);
    // in pieces they are looked at again only when a line may have ended, so that single bytes cost little
    if (this.#trailers.length < maxTrailerBytes && !bytes.subarray(from, room).includes(10)) return limit;
    const head = new Head();
    const end = parseFields(head, this.#trailers, 0, this.#trailers.length);
    if (end < 0 || (end === incomplete && this.#trailers.length >= maxTrailerBytes)) return refuse.trailer;
    // of lines that are whole, before the next one comes: what is refused must not look finished to a lax reader
    for (let i = 0; i < head.count; i++) if (head.kind[i] !== headerKind.other) return refuse.trailer;
    if (end === incomplete) return limit;
    this.#state = at.done;
    return from + end - before;
  }
}

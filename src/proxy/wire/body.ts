import type { Buffer } from 'node:buffer';
import { Chunks } from './chunks.ts';
import type { Head } from './head.ts';

type Framing = 'none' | 'length' | 'chunked' | 'until-close';

/** How far one message body has come (RFC 9112 section 6.3); one object follows body after body of a connection. */
export class Body {
  framing: Framing = 'none';
  done = true;
  /** Bytes still to come of a body with a length. */
  left = 0;
  #chunks: Chunks | undefined;

  /** The body that a request head announces: without a length or chunks there is none. */
  beginRequest(head: Head): void {
    this.#begin(head, 'none');
  }

  /** The body behind a response head; `toHead` tells that the request was HEAD. */
  beginResponse(head: Head, toHead: boolean): void {
    if (toHead || head.status === 204 || head.status === 304) {
      this.framing = 'none';
      this.done = true;
    } else this.#begin(head, 'until-close');
  }

  #begin(head: Head, otherwise: 'none' | 'until-close'): void {
    if (head.chunked) {
      this.framing = 'chunked';
      this.done = false;
      this.chunks.reset();
    } else if (head.contentLength >= 0) {
      this.framing = 'length';
      this.left = head.contentLength;
      this.done = this.left === 0;
    } else {
      this.framing = otherwise;
      this.done = otherwise === 'none';
    }
  }

  get chunks(): Chunks {
    this.#chunks ??= new Chunks();
    return this.#chunks;
  }

  /** Takes what belongs to the body; returns the offset behind it, or a refusal (below zero). */
  take(bytes: Buffer, from: number, limit: number): number {
    switch (this.framing) {
      case 'none':
        return from;
      case 'length': {
        const end = Math.min(limit, from + this.left);
        this.left -= end - from;
        this.done = this.left === 0;
        return end;
      }
      case 'chunked': {
        const end = this.chunks.take(bytes, from, limit);
        this.done = this.chunks.done;
        return end;
      }
      case 'until-close':
        return limit;
      default:
        return this.framing satisfies never;
    }
  }
}

import type { Buffer } from 'node:buffer';
import type { Body } from './body.ts';
import type { Exchange } from './exchange.ts';
import type { Head } from './head.ts';
import type { Mirror, Mirrors } from './mirror.ts';
import { forwardedHead, joined } from './rewrite.ts';

/** The copies of a client's open request that still need the rest of its body; one object for request after request. */
export class RequestCopies {
  readonly #mirrors: Mirrors;
  #open: Mirror[] | undefined;

  constructor(mirrors: Mirrors) {
    this.#mirrors = mirrors;
  }

  /** Sends the copies of a request, of which as much is there as ends at `end`; each has its own authority. */
  start({ startLine, mirrors }: Exchange, head: Head, bytes: Buffer, end: number, traits: number, body: Body): void {
    const { framing, done } = body;
    for (const copy of mirrors) {
      const text = forwardedHead(head, bytes, startLine, copy.additions, true);
      const request = joined(text, bytes, head.end, end);
      const mirror = this.#mirrors.start(copy, request, traits, framing !== 'none', done);
      if (mirror === undefined || done) continue;
      this.#open ??= [];
      this.#open.push(mirror);
    }
  }

  /** More of the body; `done` tells that it is the last. */
  send(data: Buffer, done: boolean): void {
    if (this.#open === undefined) return;
    for (const mirror of this.#open) mirror.send(data, done);
    if (done) this.#open = undefined;
  }

  /** The rest of a body that has not come whole does not reach its copies either. */
  drop(): void {
    if (this.#open === undefined) return;
    for (const mirror of this.#open) mirror.abort();
    this.#open = undefined;
  }
}

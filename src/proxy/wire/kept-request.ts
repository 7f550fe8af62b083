import type { Buffer } from 'node:buffer';
import type { Upstream } from '../upstream/connection.ts';

/** Of a body that comes bit by bit so much is kept to be sent again, beside what came with the head; one that is longer is not tried again. */
const maxKeptBytes = 64 * 1024;

/** What a piece costs, however small it is. */
const leastPieceBytes = 1024;

/** What of a request is there to be sent, or sent again: its beginning, and where it is worth it what came behind that. */
export class KeptRequest {
  #start: string | Buffer = '';
  #more: Buffer[] = [];
  #moreBytes = 0;
  #keepsMore = false;

  /** `start` is all that is there of the request; `keepsMore` tells to keep what comes behind it too. */
  begin(start: string | Buffer, keepsMore: boolean): void {
    this.drop();
    this.#start = start;
    this.#keepsMore = keepsMore;
    this.#moreBytes = 0;
  }

  /** Is all that has come still here? */
  get isWhole(): boolean {
    return this.#start !== '';
  }

  /** More of the body has come. */
  add(data: Buffer): void {
    this.#moreBytes += Math.max(data.length, leastPieceBytes);
    if (!this.#keepsMore || this.#moreBytes > maxKeptBytes) this.drop();
    else if (this.isWhole) this.#more.push(data);
  }

  /** False when it is better to wait before writing more. */
  writeTo(upstream: Upstream): boolean {
    let flows = upstream.write(this.#start);
    for (const piece of this.#more) flows = upstream.write(piece);
    return flows;
  }

  drop(): void {
    this.#start = '';
    if (this.#more.length > 0) this.#more = [];
  }
}

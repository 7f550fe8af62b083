import { randomUUID } from 'node:crypto';

/** So many ids differ in their last six digits alone. */
const batch = 0x800000;

/**
 * Ids for requests that come without one, in the form of UUIDs, as Envoy makes them. Thirty digits are random and the last ones
 * count: a `randomUUID` for each request costs three times as much, with the copying of its text, which is made of twenty pieces.
 */
export class RequestIds {
  #start = '';
  #used = batch;

  next(): string {
    if (this.#used === batch) {
      this.#start = randomUUID().slice(0, 30);
      this.#used = 0;
    }
    return this.#start + (batch + this.#used++).toString(16);
  }
}

import { Buffer } from 'node:buffer';

/** Bytes that a reader has not asked for yet, copied together: pieces, however small, cost no more than their bytes. */
export class HeldBytes {
  #bytes = Buffer.allocUnsafeSlow(1024);
  #length = 0;

  append(bytes: Buffer, from: number, end: number): void {
    const length = this.#length + end - from;
    if (length > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    bytes.copy(this.#bytes, this.#length, from, end);
    this.#length = length;
  }

  /** All of them; nothing may be appended after that. */
  get whole(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}

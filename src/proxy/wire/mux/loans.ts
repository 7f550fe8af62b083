/**
 * What all multiplexed connections of a proxy may hold for their readers beyond the initial windows of streams. Once all of it is lent,
 * streams keep the window that they have, until others close.
 */
export class Loans {
  #left: number;

  /** Bytes. */
  constructor(total = 16 * 1024 * 1024) {
    this.#left = total;
  }

  /** How many of so many bytes are granted. */
  take(bytes: number): number {
    const taken = Math.min(bytes, this.#left);
    this.#left -= taken;
    return taken;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

import type { Connection } from './connection.ts';

/** After a cut there is room for so much of the bound, so that the next one is not due at once. */
const roomAfterCut = 0.25;

/**
 * Keeps what waits for all clients together within a bound: beyond it those for whom most waits are to be cut off. What is known of
 * a client is as old as its last message, which errs to the safe side; all are looked at only when the sum seems too large.
 */
export class Buffers {
  readonly #limitBytes: number;
  readonly #waiting = new Map<Connection, number>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** Looks at one client to whom something was just handed; returns whom to cut off, if anybody. */
  note(connection: Connection): Connection[] {
    this.#set(connection, connection.waitingBytes);
    if (this.#bytes <= this.#limitBytes) return [];
    this.measure();
    return this.#bytes > this.#limitBytes ? this.#fullest() : [];
  }

  forget(connection: Connection): void {
    this.#bytes -= this.#waiting.get(connection) ?? 0;
    this.#waiting.delete(connection);
  }

  /** Looks at all; the sum in bytes. */
  measure(): number {
    for (const connection of this.#waiting.keys()) this.#set(connection, connection.waitingBytes);
    return this.#bytes;
  }

  #set(connection: Connection, bytes: number): void {
    this.#bytes += bytes - (this.#waiting.get(connection) ?? 0);
    this.#waiting.set(connection, bytes);
  }

  /** Those who hold most, until the rest fits. */
  #fullest(): Connection[] {
    const target = this.#limitBytes * (1 - roomAfterCut);
    const chosen: Connection[] = [];
    for (const [connection] of [...this.#waiting].sort((a, b) => b[1] - a[1])) {
      if (this.#bytes <= target) break;
      this.forget(connection);
      chosen.push(connection);
    }
    return chosen;
  }
}

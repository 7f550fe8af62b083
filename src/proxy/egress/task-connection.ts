import type { Shares } from '../admission.ts';
import type { ByteStream } from '../wire/byte-stream.ts';

/** A connection from a task of this node; it counts as one of those of each task that proves itself on it, until it closes. */
export class TaskConnection {
  readonly #shares: Shares;
  readonly #tasks = new Set<string>();
  #isClosed = false;

  constructor(shares: Shares, stream: ByteStream) {
    this.#shares = shares;
    stream.on('close', () => {
      this.#isClosed = true;
      for (const task of this.#tasks) shares.give(task);
      this.#tasks.clear();
    });
  }

  /** False when the task has as many connections as one may have. */
  isOf(task: string): boolean {
    if (this.#tasks.has(task)) return true;
    if (this.#isClosed || !this.#shares.take(task)) return false;
    this.#tasks.add(task);
    return true;
  }
}

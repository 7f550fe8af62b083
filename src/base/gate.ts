import { MesoliteError } from './errors.ts';

/** Lets asynchronous work through one piece at a time, in order; at most `maxWaiting` pieces wait. */
export class Gate {
  readonly #maxWaiting: number;
  #waiting = 0;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(maxWaiting = 1024) {
    this.#maxWaiting = maxWaiting;
  }

  /** Runs `task` after all that came before it; throws QUEUE_FULL at once when too many wait. */
  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#waiting >= this.#maxWaiting) {
      throw new MesoliteError('QUEUE_FULL', `${this.#waiting} pieces of work wait already`);
    }
    this.#waiting++;
    const before = this.#tail;
    const done = before.then(task, task).finally(() => this.#waiting--);
    this.#tail = done.catch(() => undefined);
    return done;
  }
}

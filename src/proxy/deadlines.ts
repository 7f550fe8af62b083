import { type Clock, secondMs } from '../base/clock.ts';

/** Something that must not wait for ever; it moves its own deadline, which costs one assignment. */
export interface Timed {
  /** Milliseconds as `Deadlines.now` counts them; `never` switches it off. */
  deadlineAt: number;
  onDeadline(): void;
}

export const never = Number.POSITIVE_INFINITY;
const tickMs = secondMs;

/**
 * All timeouts of the proxy: one timer looks at everything each second, so that a request sets a number instead of a
 * timer. Timeouts are late by up to one tick. Nothing ticks while nothing is registered.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #timed = new Set<Timed>();
  #now: number;
  #cancel: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#now = clock.monotonic();
  }

  /** Monotonic milliseconds, as coarse as the tick while there is one. */
  get now(): number {
    return this.#cancel === undefined ? this.#clock.monotonic() : this.#now;
  }

  /** For what must not be late: a timer of its own; the returned function takes it back. */
  after(delayMs: number, task: () => void): () => void {
    return this.#clock.after(delayMs, task);
  }

  add(timed: Timed): void {
    this.#timed.add(timed);
    if (this.#cancel !== undefined) return;
    this.#now = this.#clock.monotonic();
    this.#cancel = this.#clock.after(tickMs, this.#tick);
  }

  delete(timed: Timed): void {
    this.#timed.delete(timed);
    if (this.#timed.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  readonly #tick = (): void => {
    this.#cancel = this.#clock.after(tickMs, this.#tick);
    this.#now = this.#clock.monotonic();
    for (const timed of this.#timed) {
      if (timed.deadlineAt > this.#now) continue;
      timed.deadlineAt = never;
      timed.onDeadline();
    }
  };
}

/** So many bytes in the long run, and so many at once. */
export interface LogRate {
  readonly bytesPerSecond: number;
  readonly burstBytes: number;
}

/** A little more is let be, rather than to cut a log at each look. */
const slackBytes = 64 * 1024;

/** How much of what a task writes is kept: more would wear out a card, and nobody reads it. */
export class LogAllowance {
  readonly #rate: LogRate;
  #left: number;
  #at: number;

  /** `now` as for `spend`. */
  constructor(rate: LogRate, now: number) {
    this.#rate = rate;
    this.#left = rate.burstBytes;
    this.#at = now;
  }

  /** So many bytes were written; returns how many of them are too many. `now` in milliseconds that never go back. */
  spend(bytes: number, now: number): number {
    const { bytesPerSecond, burstBytes } = this.#rate;
    this.#left = Math.min(burstBytes, this.#left + ((now - this.#at) * bytesPerSecond) / 1000) - bytes;
    this.#at = now;
    if (this.#left >= -slackBytes) return 0;
    const over = Math.min(bytes, Math.ceil(-this.#left));
    this.#left += over;
    return over;
  }
}

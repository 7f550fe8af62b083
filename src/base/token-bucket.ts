/** So much at once, and so much a second in the long run. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** A bucket of tokens that begins full and fills with time; time is the caller's, in milliseconds; what is earlier than what came before counts as that. */
export class TokenBucket {
  readonly #rate: Rate;
  #level: number;
  #at: number;

  constructor(rate: Rate, now: number) {
    this.#rate = rate;
    this.#level = rate.burst;
    this.#at = now;
  }

  /** Takes `amount` tokens, or none when there are not so many. */
  take(amount: number, time: number): boolean {
    const { perSecond, burst } = this.#rate;
    const now = Math.max(time, this.#at);
    this.#level = Math.min(burst, this.#level + ((now - this.#at) * perSecond) / 1000);
    this.#at = now;
    if (this.#level < amount) return false;
    this.#level -= amount;
    return true;
  }
}

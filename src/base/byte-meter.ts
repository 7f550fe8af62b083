import { dayMs, minuteMs } from './clock.ts';

/** One look back is no finer than this, and no longer than a day. */
const bucketMs = 10 * minuteMs;
const bucketCount = dayMs / bucketMs;

/** Counts bytes by purpose: in all, and over the last hours. Time is the caller's, monotonic. */
export class ByteMeter<Purpose extends string> {
  readonly #totals = new Map<Purpose, number>();
  readonly #buckets = new Map<Purpose, Float64Array>();
  /** The number of the bucket that is filled now, counted from time 0. */
  #bucket = 0;

  /** In all, of what was counted at all. */
  get totals(): ReadonlyMap<Purpose, number> {
    return this.#totals;
  }

  add(purpose: Purpose, bytes: number, now: number): void {
    this.#turn(now);
    this.#totals.set(purpose, (this.#totals.get(purpose) ?? 0) + bytes);
    const buckets = this.#buckets.get(purpose) ?? new Float64Array(bucketCount);
    this.#buckets.set(purpose, buckets);
    const at = this.#bucket % bucketCount;
    buckets[at] = (buckets[at] ?? 0) + bytes;
  }

  /** What was counted in the last `ms`, a day at most, to ten minutes; purposes of which nothing was are left out. */
  over(ms: number, now: number): Record<string, number> {
    this.#turn(now);
    const reach = Math.min(bucketCount, Math.ceil(ms / bucketMs));
    const sums: Record<string, number> = {};
    for (const [purpose, buckets] of this.#buckets) {
      let sum = 0;
      for (let back = 0; back < reach && back <= this.#bucket; back++)
        sum += buckets[(this.#bucket - back) % bucketCount] ?? 0;
      if (sum > 0) sums[purpose] = sum;
    }
    return sums;
  }

  /** Empties what a day ago was filled. */
  #turn(now: number): void {
    const bucket = Math.max(this.#bucket, Math.floor(now / bucketMs));
    const passed = Math.min(bucketCount, bucket - this.#bucket);
    for (const buckets of this.#buckets.values())
      for (let back = 0; back < passed; back++) buckets[(bucket - back) % bucketCount] = 0;
    this.#bucket = bucket;
  }
}

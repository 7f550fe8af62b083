/** Time as every part sees it; the real one is `device/clock.ts`, the tests' one `test/fixtures/fake-clock.ts`. */
export interface Clock {
  /** Milliseconds since 1970, as far as they are known. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number;
  /** Calls `task` once after `delayMs` and keeps the process alive for it; the returned function cancels. */
  after(delayMs: number, task: () => void): () => void;
  /**
   * True after `delayMs`, never before; false as soon as `signal` aborts. A loop that rests is `while (await clock.sleep(ms, signal, 'loop')) …`:
   * it may wake earlier or later than that, by half at most, so that it wakes with others.
   */
  sleep(delayMs: number, signal: AbortSignal, as?: 'loop'): Promise<boolean>;
}

export const secondMs = 1_000;
export const minuteMs = 60 * secondMs;
export const hourMs = 60 * minuteMs;
export const dayMs = 24 * hourMs;

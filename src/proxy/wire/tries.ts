import type { Buffer } from 'node:buffer';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { type RetryPolicy, retryDelayMs } from '../../traffic/retry.ts';
import type { TryPolicy } from '../../traffic/route-action.ts';

/** Of a body that comes bit by bit so much is kept to be sent again, beside what came with the head; one that is longer is not tried again. */
const maxKeptBytes = 64 * 1024;

export interface TriesParts {
  readonly clock: Clock;
  readonly random: Random;
}

/** What a route asks of time and retries, for one request after another of a connection: timers, and what can be sent again. */
export class Tries {
  readonly #parts: TriesParts;
  #policy: TryPolicy = { timeoutMs: 0, retry: undefined };
  #retries = 0;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #cancelRoute: (() => void) | undefined;
  #cancelTry: (() => void) | undefined;

  constructor(parts: TriesParts) {
    this.#parts = parts;
  }

  begin(policy: TryPolicy): void {
    this.#policy = policy;
    this.#retries = 0;
    this.forget();
    this.#keptBytes = 0;
  }

  get retry(): RetryPolicy | undefined {
    return this.#policy.retry;
  }

  /** What came of the body behind what was there at the start. */
  get kept(): readonly Buffer[] {
    return this.#kept;
  }

  /** Takes a piece of the body into what can be sent again. */
  keep(data: Buffer): void {
    this.#keptBytes += data.length;
    if (this.canResend) this.#kept.push(data);
    else this.forget();
  }

  /** Is all that was sent still there? */
  get canResend(): boolean {
    return this.#policy.retry !== undefined && this.#keptBytes <= maxKeptBytes;
  }

  forget(): void {
    if (this.#kept.length > 0) this.#kept = [];
  }

  get isExhausted(): boolean {
    return this.#retries >= (this.#policy.retry?.attempts ?? 0);
  }

  /** Counts one more retry and calls `task` when it is due. */
  schedule(task: () => void): void {
    const { clock, random } = this.#parts;
    const { retry } = this.#policy;
    if (retry === undefined) return;
    this.#retries++;
    this.#cancelTry?.();
    this.#cancelTry = clock.after(retryDelayMs(retry, this.#retries, random), task);
  }

  /** The whole request has come: from now on the route's time runs. */
  limitRoute(task: () => void): void {
    const { timeoutMs } = this.#policy;
    if (timeoutMs > 0) this.#cancelRoute ??= this.#parts.clock.after(timeoutMs, task);
  }

  /** The time of one try begins. */
  limitTry(task: () => void): void {
    this.#cancelTry?.();
    const timeoutMs = this.#policy.retry?.perTryTimeoutMs ?? 0;
    this.#cancelTry = timeoutMs > 0 ? this.#parts.clock.after(timeoutMs, task) : undefined;
  }

  /** The response has begun, or the try is over. */
  endTry(): void {
    this.#cancelTry?.();
    this.#cancelTry = undefined;
  }

  end(): void {
    this.endTry();
    this.#cancelRoute?.();
    this.#cancelRoute = undefined;
    this.forget();
  }
}

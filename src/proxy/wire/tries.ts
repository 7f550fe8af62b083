import type { Buffer } from 'node:buffer';
import type { Clock } from '../../base/clock.ts';
import type { Random } from '../../base/random.ts';
import { type Failure, retriesFailure, retriesStatus, retryDelayMs } from '../../traffic/retry.ts';
import type { TryPolicy } from '../../traffic/route-action.ts';
import type { Exchange, Target } from './exchange.ts';
import { fieldOf, word } from './fields.ts';
import type { Head } from './head.ts';

const grpcStatus = word('grpc-status');
const overloaded = word('x-envoy-overloaded');
const rateLimited = word('x-envoy-ratelimited');

export interface TriesParts {
  readonly clock: Clock;
  readonly random: Random;
}

/** What a route asks of time and retries, for one request after another of a connection: whether there is one more try, and timers. */
export class Tries {
  readonly #parts: TriesParts;
  readonly #exchange: Exchange;
  #policy: TryPolicy = { timeoutMs: 0, retry: undefined };
  #retries = 0;
  /** Who lets a retry be under way, until it is over. */
  #lender: Target | undefined;
  #cancelRoute: (() => void) | undefined;
  #cancelTry: (() => void) | undefined;

  constructor(parts: TriesParts, exchange: Exchange) {
    this.#parts = parts;
    this.#exchange = exchange;
  }

  begin(policy: TryPolicy): void {
    this.#policy = policy;
    this.#retries = 0;
  }

  get ignoresPreviousHosts(): boolean {
    return this.#policy.retry?.ignorePreviousHosts === true;
  }

  /** Is there to be another try after a response with that head? It has a place among the retries then. */
  followsResponse(head: Head, bytes: Buffer): boolean {
    const policy = this.#policy.retry;
    if (policy === undefined || (head.status < 400 && !policy.readsGrpcStatus)) return false;
    const wants = retriesStatus(
      policy,
      head.status,
      policy.readsGrpcStatus ? fieldOf(head, bytes, grpcStatus) : undefined,
      fieldOf(head, bytes, overloaded) !== undefined,
      fieldOf(head, bytes, rateLimited) !== undefined,
    );
    return wants && this.#takePlace();
  }

  /** Is there to be another try after one that got no response? It has a place among the retries then. */
  followsFailure(failure: Failure): boolean {
    const policy = this.#policy.retry;
    return policy !== undefined && retriesFailure(policy, failure) && this.#takePlace();
  }

  /** Calls `task` when the next try is due. */
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

  /** The response has begun: there is no other try. */
  endTry(): void {
    this.#cancelTry?.();
    this.#cancelTry = undefined;
    this.#givePlace();
  }

  end(): void {
    this.endTry();
    this.#cancelRoute?.();
    this.#cancelRoute = undefined;
  }

  #takePlace(): boolean {
    this.#givePlace();
    const { target } = this.#exchange;
    if (this.#retries >= (this.#policy.retry?.attempts ?? 0)) this.#exchange.note = 'URX';
    else if (target?.beginRetry() === true) this.#lender = target;
    else this.#exchange.note = 'UO';
    return this.#lender !== undefined;
  }

  #givePlace(): void {
    this.#lender?.endRetry();
    this.#lender = undefined;
  }
}

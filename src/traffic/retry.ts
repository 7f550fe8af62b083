import type { Random } from '../base/random.ts';
import type { Retries } from '../model/virtual-service.ts';

/** What may have gone wrong with a try, a bit each, by Envoy's names of `x-envoy-retry-on` and `x-envoy-retry-grpc-on`. */
export const retryBits = {
  'connect-failure': 1,
  'refused-stream': 2,
  reset: 4,
  '5xx': 8,
  'gateway-error': 16,
  'retriable-4xx': 32,
  'retriable-status-codes': 64,
  'envoy-ratelimited': 128,
  cancelled: 256,
  'deadline-exceeded': 512,
  internal: 1024,
  'resource-exhausted': 2048,
  unavailable: 4096,
} as const;

/** Istio's default `retryOn`. */
const defaultConditions = 'connect-failure,refused-stream,unavailable,cancelled';

/** Of gRPC's statuses, which stand in a response that is trailers only (grpc/grpc doc/statuscodes.md). */
const grpcBits: Readonly<Record<string, number>> = {
  1: retryBits.cancelled,
  4: retryBits['deadline-exceeded'],
  8: retryBits['resource-exhausted'],
  13: retryBits.internal,
  14: retryBits.unavailable,
};
const anyGrpc = Object.values(grpcBits).reduce((all, bit) => all | bit, 0);

/** How often, after what and how soon a request is tried again. */
export interface RetryPolicy {
  /** Beside the first try. */
  readonly attempts: number;
  readonly on: number;
  readonly statuses: ReadonlySet<number>;
  /** Until the response's head; 0 for no bound of its own. */
  readonly perTryTimeoutMs: number;
  /** The first back-off lasts at most so long. */
  readonly backoffMs: number;
  readonly ignorePreviousHosts: boolean;
  readonly readsGrpcStatus: boolean;
}

/** Envoy's defaults: 25 ms, and ten times the base at most. */
const defaultBackoffMs = 25;
const backoffCeiling = 10;

/** The words of a `retryOn` list that mean nothing: neither a condition nor a status. */
export function unknownConditions(retryOn: string): string[] {
  return wordsOf(retryOn).filter(word => !Object.hasOwn(retryBits, word) && !/^[45]\d\d$/.test(word));
}

/** Istio's policy; where a route says nothing, two more tries after what is safe to repeat. Undefined for no retries. */
export function compileRetries(retries: Retries | undefined): RetryPolicy | undefined {
  const attempts = retries?.attempts ?? 2;
  if (attempts === 0) return undefined;
  const words = wordsOf(retries?.retryOn ?? defaultConditions);
  const statuses = new Set(words.filter(word => /^\d+$/.test(word)).map(Number));
  let on = statuses.size > 0 ? retryBits['retriable-status-codes'] : 0;
  for (const word of words) on |= Object.hasOwn(retryBits, word) ? retryBits[word as keyof typeof retryBits] : 0;
  return {
    attempts,
    on,
    statuses,
    perTryTimeoutMs: retries?.perTryTimeout ?? 0,
    backoffMs: retries?.backoff ?? defaultBackoffMs,
    ignorePreviousHosts: retries?.retryIgnorePreviousHosts ?? true,
    readsGrpcStatus: (on & anyGrpc) !== 0,
  };
}

/**
 * Is a response to be tried again (Envoy's RetryStateImpl::wouldRetryFromHeaders)? `overloaded` and `rateLimited` tell that it has
 * `x-envoy-overloaded` or `x-envoy-ratelimited`: those that say so want no more.
 */
export function retriesStatus(
  policy: RetryPolicy,
  status: number,
  grpcStatus: string | undefined,
  overloaded: boolean,
  rateLimited: boolean,
): boolean {
  const { on } = policy;
  if (overloaded) return false;
  if (rateLimited) return (on & retryBits['envoy-ratelimited']) !== 0;
  if (status >= 500 && (on & retryBits['5xx']) !== 0) return true;
  if (status >= 502 && status <= 504 && (on & retryBits['gateway-error']) !== 0) return true;
  if (status === 409 && (on & retryBits['retriable-4xx']) !== 0) return true;
  if (policy.statuses.has(status)) return true;
  return grpcStatus !== undefined && (on & (grpcBits[grpcStatus] ?? 0)) !== 0;
}

/** Why a try got no response: no connection, a host that took nothing of it, a connection that broke or was too slow. */
export type Failure = 'connect-failure' | 'refused-stream' | 'reset';

/** Is a try that got no response to be tried again? Envoy takes every one of them for a reset and a 5xx too. */
export function retriesFailure({ on }: RetryPolicy, failure: Failure): boolean {
  return (on & (retryBits['5xx'] | retryBits['gateway-error'] | retryBits.reset | retryBits[failure])) !== 0;
}

/** The wait before retry `retry` (1 is the first), in milliseconds: Envoy's full jitter, `rand(0, (2^n - 1) × base)`, at most 10 × base. */
export function retryDelayMs({ backoffMs }: RetryPolicy, retry: number, random: Random): number {
  const ceiling = Math.min(backoffCeiling, 2 ** Math.min(retry, 30) - 1) * backoffMs;
  return Math.floor(random() * ceiling);
}

function wordsOf(retryOn: string): string[] {
  return retryOn
    .split(',')
    .map(word => word.trim())
    .filter(word => word !== '');
}

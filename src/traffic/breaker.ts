/** Envoy's circuit breakers for one cluster: how much of it this proxy uses at a time. */
export interface BreakerSettings {
  readonly maxConnections: number;
  /** Requests that wait for a connection. */
  readonly maxPending: number;
  /** Requests that have a connection. */
  readonly maxRequests: number;
  /** Retries that are under way: a number, or a share of the requests. */
  readonly retries: number | RetryBudget;
}

export interface RetryBudget {
  /** Of the requests that are under way. */
  readonly percent: number;
  /** So many may be under way whatever their share. */
  readonly minConcurrency: number;
}

/** Envoy's budget. Its own default is 3 retries, Istio's no bound at all: that is what turns an outage into a worse one. */
export const defaultRetryBudget: RetryBudget = { percent: 20, minConcurrency: 3 };

export const defaultBreaker: BreakerSettings = {
  maxConnections: Number.POSITIVE_INFINITY,
  maxPending: 1024,
  maxRequests: Number.POSITIVE_INFINITY,
  retries: defaultRetryBudget,
};

/** What is under way; changed in place. */
export interface Usage {
  connections: number;
  pending: number;
  /** Retries among them. */
  requests: number;
  retries: number;
}

export function newUsage(): Usage {
  return { connections: 0, pending: 0, requests: 0, retries: 0 };
}

/**
 * May one more request be a retry? A budget is reckoned from the requests that are none, so that 20 % never make more than 1.2 attempts
 * of one; Envoy counts the retries in, and comes to 1.25.
 */
export function mayRetry({ pending, requests, retries }: Usage, { retries: bound }: BreakerSettings): boolean {
  if (typeof bound === 'number') return retries < bound;
  const share = Math.floor((bound.percent / 100) * Math.max(0, requests + pending - retries));
  return retries < Math.max(bound.minConcurrency, share);
}

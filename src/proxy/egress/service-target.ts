import type { Endpoints } from '../upstream/endpoints.ts';
import type { Pool } from '../upstream/pool.ts';
import type { Exchange, Target } from '../wire/exchange.ts';
import type { LocalWorkload } from '../workload.ts';

/** Endpoints that may be tried for one request while none has taken it. */
const maxAttempts = 3;
/** One connection remembers so many ways at a time: those between which a route draws. */
const maxTargets = 16;

/** A service as one task reaches it. */
export class ServiceTarget implements Target {
  readonly maxAttempts = maxAttempts;
  readonly caller: LocalWorkload;
  readonly endpoints: Endpoints;

  constructor(caller: LocalWorkload, endpoints: Endpoints) {
    this.caller = caller;
    this.endpoints = endpoints;
  }

  choose(exchange: Exchange, tried: readonly Pool[]): Pool | undefined {
    return this.endpoints.choose(this.caller, exchange, tried);
  }

  beginRetry(): boolean {
    return this.endpoints.beginRetry();
  }

  endRetry(): void {
    this.endpoints.endRetry();
  }
}

/** The targets of one connection, so that a request makes none of its own. */
export class ServiceTargets {
  #known: ServiceTarget[] = [];

  targetOf(caller: LocalWorkload, endpoints: Endpoints): ServiceTarget {
    for (const target of this.#known) if (target.caller === caller && target.endpoints === endpoints) return target;
    if (this.#known.length >= maxTargets) this.#known = [];
    const target = new ServiceTarget(caller, endpoints);
    this.#known.push(target);
    return target;
  }
}

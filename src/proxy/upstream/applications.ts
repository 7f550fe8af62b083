import type { Target } from '../wire/exchange.ts';
import type { Application } from '../workload.ts';
import type { Pool } from './pool.ts';

/** Where the applications of this node's workloads listen: one pool each, which empties itself soon after its last use. */
export class Applications {
  readonly #makePool: (endpoint: Application) => Pool;
  readonly #targets = new WeakMap<Application, Target>();

  constructor(makePool: (endpoint: Application) => Pool) {
    this.#makePool = makePool;
  }

  targetOf(endpoint: Application): Target {
    const known = this.#targets.get(endpoint);
    if (known !== undefined) return known;
    const pool = this.#makePool(endpoint);
    const target: Target = {
      maxAttempts: 1,
      choose: (_, tried) => (tried.includes(pool) ? undefined : pool),
      beginRetry: () => false,
      endRetry: () => {},
    };
    this.#targets.set(endpoint, target);
    return target;
  }
}

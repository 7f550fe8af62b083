import type { Target } from '../wire/exchange.ts';
import type { ServedEndpoint } from '../workload.ts';
import type { Pool } from './pool.ts';

/** Where the applications of this node's workloads listen: one pool each, which empties itself soon after its last use. */
export class Applications {
  readonly #makePool: (endpoint: ServedEndpoint) => Pool;
  readonly #targets = new WeakMap<ServedEndpoint, Target>();

  constructor(makePool: (endpoint: ServedEndpoint) => Pool) {
    this.#makePool = makePool;
  }

  targetOf(endpoint: ServedEndpoint): Target {
    const known = this.#targets.get(endpoint);
    if (known !== undefined) return known;
    const pool = this.#makePool(endpoint);
    const target: Target = {
      maxAttempts: 1,
      choose: (_, avoid) => (avoid === pool ? undefined : pool),
      beginRetry: () => false,
      endRetry: () => {},
    };
    this.#targets.set(endpoint, target);
    return target;
  }
}

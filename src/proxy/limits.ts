import type { Buffer } from 'node:buffer';
import { LRUCache } from 'lru-cache';
import type { Cell } from '../base/cell.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { CompiledLimits, Limit } from '../traffic/limit.ts';
import type { RequestFacts } from './access-log.ts';
import type { Counters } from './counters.ts';
import { type LocalAnswer, makeAnswer } from './respond.ts';
import type { Tallies, Tally } from './tallies.ts';
import type { Exchange } from './wire/exchange.ts';
import { fieldOf } from './wire/fields.ts';
import type { Head } from './wire/head.ts';
import type { LocalWorkload } from './workload.ts';

/** Buckets of tasks and of callers, and those that a caller may make by writing another header or path: the ones unused longest go. */
export const maxFixedBuckets = 4096;
export const maxVaryingBuckets = 16_384;
/** Longer texts share a bucket with others that begin alike. */
const maxKeyText = 256;

/** Envoy's local rate limit says exactly this. */
const limited = makeAnswer(429, 'local_rate_limited', 'RL', 'x-envoy-ratelimited: true\r\n');

/** One limit as it holds for the requests of one connection. */
interface StandingLimit {
  readonly limit: Limit;
  /** Of the connection; undefined where each request has to be looked at. */
  readonly bucket: TokenBucket | undefined;
  /** Of one that is not enforced. */
  readonly tally: Tally | undefined;
  readonly keyPrefix: string;
}

/** The limits of one connection, until a policy or a workload is swapped. */
export interface StandingLimits {
  readonly compiled: CompiledLimits;
  readonly limits: readonly StandingLimit[];
}

const none: readonly StandingLimit[] = [];

/** Counts requests against the RateLimits of their workload. Buckets outlive policies: a push gives nobody a full one. */
export class Limits {
  readonly #compiled: Cell<CompiledLimits>;
  readonly #counters: Counters;
  readonly #tallies: Tallies;
  readonly #fixed = new Buckets(maxFixedBuckets);
  readonly #varying = new Buckets(maxVaryingBuckets);

  constructor(compiled: Cell<CompiledLimits>, counters: Counters, tallies: Tallies) {
    this.#compiled = compiled;
    this.#counters = counters;
    this.#tallies = tallies;
  }

  isCurrent({ compiled }: StandingLimits): boolean {
    return compiled === this.#compiled.value;
  }

  /** `caller` is a principal, or the address of a client that is not `known` by one; `now` in monotonic milliseconds. */
  standingOf({ task, identity }: LocalWorkload, caller: string, known: boolean, now: number): StandingLimits {
    const compiled = this.#compiled.value;
    const selecting = compiled.forWorkload(identity);
    if (selecting.length === 0) return { compiled, limits: none };
    const limits = selecting.map(limit => {
      const varies = limit.per === 'path' || limit.per === 'header';
      // strangers come from very many addresses, and must not make room among those that are known
      const buckets = known || limit.per !== 'principal' ? this.#fixed : this.#varying;
      const keyPrefix = limit.per === 'principal' ? `${limit.id}\n${task}\n${caller}` : `${limit.id}\n${task}\n`;
      const tally = limit.enforce
        ? undefined
        : this.#tallies.of({ kind: 'RateLimit', policy: limit.name, id: limit.id });
      return { limit, keyPrefix, tally, bucket: varies ? undefined : buckets.of(keyPrefix, limit, now) };
    });
    return { compiled, limits };
  }

  /** Takes a token for a request from each of its buckets; the answer to give where an enforced one has none. */
  take(
    { limits }: StandingLimits,
    exchange: Exchange,
    facts: RequestFacts,
    head: Head,
    bytes: Buffer,
  ): LocalAnswer | undefined {
    let answer: LocalAnswer | undefined;
    for (const { limit, bucket, keyPrefix, tally } of limits) {
      const now = exchange.startedAt;
      if (tally !== undefined) tally.calls++;
      const own = bucket ?? this.#varying.of(keyPrefix + textOf(limit, facts, head, bytes), limit, now);
      if (own.take(1, now)) continue;
      this.#counters.countLimited(limit.name, limit.enforce);
      if (tally !== undefined) {
        tally.deny++;
        exchange.note = 'RL:shadow';
        continue;
      }
      facts.allow = false;
      facts.rule = limit.name;
      answer = limited;
    }
    return answer;
  }
}

class Buckets {
  readonly #max: number;
  /** Made for the first of them: it takes its place in memory at once. */
  #cache: LRUCache<string, TokenBucket> | undefined;

  constructor(max: number) {
    this.#max = max;
  }

  of(key: string, { rate }: Limit, now: number): TokenBucket {
    this.#cache ??= new LRUCache({ max: this.#max });
    const known = this.#cache.get(key);
    if (known !== undefined) return known;
    const bucket = new TokenBucket(rate, now);
    this.#cache.set(key, bucket);
    return bucket;
  }
}

/** What tells the buckets of a limit apart. Requests without the header share one, so that leaving it out helps nobody. */
function textOf(limit: Limit, facts: RequestFacts, head: Head, bytes: Buffer): string {
  const text = limit.per === 'path' ? facts.path : (fieldOf(head, bytes, limit.header) ?? '');
  return text.length <= maxKeyText ? text : text.slice(0, maxKeyText);
}

import { parseAddress } from '../base/match.ts';
import { type Rate, TokenBucket } from '../base/token-bucket.ts';

/** How often each source may connect; the source that has not come for longest is forgotten beyond `maxSources`. */
export class SourceRates {
  readonly #rate: Rate;
  readonly #maxSources: number;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(rate: Rate, maxSources: number) {
    this.#rate = rate;
    this.#maxSources = maxSources;
  }

  /** May it connect once more? `now` is monotonic. */
  take(address: string | undefined, now: number): boolean {
    const source = sourceOf(address ?? '');
    const bucket = this.#buckets.get(source) ?? new TokenBucket(this.#rate, now);
    // to the end: a map keeps the order
    this.#buckets.delete(source);
    this.#buckets.set(source, bucket);
    if (this.#buckets.size > this.#maxSources) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    return bucket.take(1, now);
  }
}

/** An IPv4 address, or the network of an IPv6 one: a host has 2^64 addresses of its own (RFC 4291 2.5.1). */
function sourceOf(text: string): string {
  const address = parseAddress(text.split('%')[0] ?? '');
  if ('reason' in address) return 'unknown';
  return address.family === 4 ? String(address.words[0]) : `${address.words[0]}:${address.words[1]}`;
}

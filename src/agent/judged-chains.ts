import type { X509Certificate } from 'node:crypto';
import { type Moment, type Path, type TrustBundle, whyNotInForce } from '../identity/verify.ts';
import type { Peer } from '../model/identity.ts';

/** Peers that are known again without another look at their signatures; the one unused longest goes. */
export const maxJudgedChains = 256;

/** A chain that was good. */
export interface JudgedChain {
  readonly peer: Peer;
  /** As it was presented. */
  readonly chain: readonly X509Certificate[];
  readonly path: Path;
  readonly bundle: TrustBundle;
}

/** Is a chain that was good once still good? False when only another look at the whole of it can tell. */
export function isStillGood({ path, bundle }: JudgedChain, current: TrustBundle, moment: Moment): boolean {
  return bundle === current && whyNotInForce(path, moment) === undefined;
}

/**
 * Chains that were good, by what they were good for and the fingerprint of the leaf. What may change is asked at each use: authorities,
 * time, revocations. Only who was let in is remembered, so that strangers push nobody out.
 */
export class JudgedChains {
  readonly #known = new Map<string, JudgedChain>();
  #bundle: TrustBundle | undefined;

  find(key: string, current: TrustBundle, moment: Moment): JudgedChain | undefined {
    if (this.#bundle !== current) this.#known.clear();
    this.#bundle = current;
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    this.#known.delete(key);
    if (!isStillGood(known, current, moment)) return undefined;
    this.#known.set(key, known);
    return known;
  }

  remember(key: string, judged: JudgedChain): void {
    this.#known.delete(key);
    this.#known.set(key, judged);
    const [oldest] = this.#known.keys();
    if (this.#known.size > maxJudgedChains && oldest !== undefined) this.#known.delete(oldest);
  }
}

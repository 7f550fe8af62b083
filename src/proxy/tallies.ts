import type { Shadow } from '../model/policy.ts';
import type { ShadowCount } from '../model/shadow-count.ts';

/** At most so many policies are counted; a later one is when an older one has gone. */
export const maxTallies = 1000;

/** What one policy that decides nothing would have done, since it came or the node started. */
export class Tally {
  calls = 0;
  allow = 0;
  deny = 0;
  audit = 0;
}

/** Whose a tally is; another `id` is another version of it, and counted anew. */
export interface TallyName {
  readonly kind: ShadowCount['kind'];
  /** `<namespace>/<name>` */
  readonly policy: string;
  readonly id: string;
}

/** Counts of AUDIT policies, of those in dry run, and of RateLimits that are not enforced. */
export class Tallies {
  readonly #byId = new Map<string, { readonly name: TallyName; readonly tally: Tally }>();

  /** Look it up once for a connection, not for a request. */
  of(name: TallyName): Tally {
    const key = keyOf(name.kind, name.id);
    const known = this.#byId.get(key);
    if (known !== undefined) return known.tally;
    const tally = new Tally();
    if (this.#byId.size < maxTallies) this.#byId.set(key, { name, tally });
    return tally;
  }

  /** The counts of those that are in use; the others are forgotten. */
  snapshot(isInUse: (kind: ShadowCount['kind'], id: string) => boolean): ShadowCount[] {
    for (const [key, { name }] of this.#byId) if (!isInUse(name.kind, name.id)) this.#byId.delete(key);
    return [...this.#byId.values()].map(({ name: { kind, policy }, tally: { calls, allow, deny, audit } }) => ({
      kind,
      policy,
      calls,
      allowed: allow,
      denied: deny,
      audited: audit,
    }));
  }
}

/** One request, and what came of it in shadow; `tallies` stand as the policies do in `effects`. */
export function countShadow(tallies: readonly Tally[], shadow: Shadow | undefined): void {
  for (let i = 0; i < tallies.length; i++) {
    const tally = tallies[i];
    if (tally === undefined) continue;
    tally.calls++;
    const effect = shadow?.effects[i] ?? 'none';
    if (effect !== 'none') tally[effect]++;
  }
}

function keyOf(kind: string, id: string): string {
  return `${kind} ${id}`;
}

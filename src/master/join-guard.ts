import { type Clock, minuteMs } from '../base/clock.ts';

/**
 * A secret of 256 bits is not guessed, so this is no lock against guessing: it bounds what somebody who knows a token's id, and not
 * its secret, can cost the master, and tells the operator. It is short, or that somebody could keep honest boards out; they ask again for
 * longer than it lasts.
 */
export const joinGuardBounds = {
  /** Wrong proofs of one token within `withinMs`; after them its requests are dropped unread for `lockedMs`. */
  wrongProofs: 10,
  withinMs: minuteMs,
  lockedMs: minuteMs / 2,
  /** Tokens whose wrong proofs are counted at once; the one that was counted first is forgotten. */
  tokens: 1_000,
} as const;

/** Counts wrong proofs, by token. Times are monotonic. */
export interface JoinGuard {
  isLocked(tokenId: string): boolean;
  /** True when this one locks the token. */
  onWrongProof(tokenId: string): boolean;
}

interface Count {
  readonly since: number;
  readonly wrong: number;
  readonly lockedUntil: number;
}

export function makeJoinGuard({ clock }: { readonly clock: Clock }): JoinGuard {
  const counts = new Map<string, Count>();
  return {
    isLocked: tokenId => (counts.get(tokenId)?.lockedUntil ?? 0) > clock.monotonic(),
    onWrongProof(tokenId) {
      const now = clock.monotonic();
      const known = counts.get(tokenId);
      const isFresh = known !== undefined && now - known.since < joinGuardBounds.withinMs;
      const count = isFresh ? { ...known, wrong: known.wrong + 1 } : { since: now, wrong: 1, lockedUntil: 0 };
      const locks = count.wrong >= joinGuardBounds.wrongProofs;
      counts.delete(tokenId);
      counts.set(tokenId, locks ? { since: now, wrong: 0, lockedUntil: now + joinGuardBounds.lockedMs } : count);
      const [oldest] = counts.keys();
      if (counts.size > joinGuardBounds.tokens && oldest !== undefined) counts.delete(oldest);
      return locks;
    },
  };
}

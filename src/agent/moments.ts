import type { Moment } from '../identity/verify.ts';
import type { NodeClock } from './clock.ts';

/**
 * When certificates are judged. A clock that is known to be behind forgives "not yet valid" alone, and to the master that is always forgiven:
 * the time here is its word, and one that was wrong would keep this node from hearing a right one. "Expired" is forgiven to peers and to
 * what is this node's own, inside a bound, and only while this node has no link to the master.
 */
export interface Moments {
  /** For the master, and for what it signs. */
  master(): Moment;
  /** For peers of the mesh, and for this node's own certificates. */
  peer(): Moment;
  /** No link, and a grace that counts. */
  readonly isGraced: boolean;
  /**
   * Is the time good enough to judge peers by? One that is not known is waited for; a node without a master then goes by the last time
   * that it has seen, which is all there is: who expired since is let in.
   */
  readonly isUsable: boolean;
}

export function makeMoments(
  parts: {
    readonly clock: Pick<NodeClock, 'now' | 'nowForMaster' | 'monotonic' | 'known'>;
    readonly revoked: () => ReadonlySet<string>;
    readonly isUp: () => boolean;
  },
  settings: { readonly offlineGraceMs: number; readonly waitForTimeMs: number },
): Moments {
  const { clock, revoked, isUp } = parts;
  const { offlineGraceMs, waitForTimeMs } = settings;
  const startedAt = clock.monotonic();

  function at(now: number, isBehind: boolean): Moment {
    return { now, notYetValidToleranceMs: isBehind ? Number.POSITIVE_INFINITY : 0, revoked: revoked() };
  }
  const here = () => at(clock.now(), !clock.known);

  return {
    master: () => at(clock.nowForMaster(), true),
    peer: () => (isUp() ? here() : { ...here(), expiredToleranceMs: offlineGraceMs }),
    get isGraced() {
      return offlineGraceMs > 0 && !isUp();
    },
    get isUsable() {
      return clock.known || (!isUp() && clock.monotonic() - startedAt >= waitForTimeMs);
    },
  };
}

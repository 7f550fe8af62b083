import type { X509Certificate } from 'node:crypto';
import { type Clock, secondMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { presentedChain } from '../identity/contexts.ts';
import { type TrustBundle, type Verification, verifyChain } from '../identity/verify.ts';
import type { Peer } from '../model/identity.ts';
import type { Peers } from '../proxy/peers.ts';
import type { Moments } from './moments.ts';
import type { Trust } from './trust.ts';

/** Refusals are logged so seldom: anyone can knock. */
const logEveryMs = secondMs;

type Side = 'client' | 'server';

/** What one was let in on, to be judged again when trust changes or the link comes back. */
interface Admission {
  readonly chain: readonly X509Certificate[];
  readonly side: Side;
  readonly bundle: TrustBundle;
  readonly onGrace: boolean;
}

/** The mesh's judge of peers: by the trust of the manifest, the node's clock, and the grace while there is no master. */
export function makeMeshPeers(parts: {
  readonly trust: Pick<Trust, 'current'>;
  readonly moments: Moments;
  readonly clock: Clock;
  readonly log: Log;
}): Peers {
  const { trust, moments, clock, log } = parts;
  const admissions = new WeakMap<Peer, Admission>();
  let loggedAt = Number.NEGATIVE_INFINITY;

  /** Workloads alone: a node, a master and a broker have no calls of their own, and whoever has such a key shall not make any. */
  function judge(chain: readonly X509Certificate[], side: Side): Verification {
    const verified = verifyChain(chain, trust.current.value.bundle, side, moments.peer());
    if (!verified.ok || verified.peer.id.kind === 'workload') return verified;
    return { ok: false, reason: `${verified.peer.uri} is no workload` };
  }

  function say(address: string | undefined, side: Side, reason: string): void {
    if (clock.monotonic() - loggedAt < logEveryMs) return;
    loggedAt = clock.monotonic();
    log.info('a peer was refused', { address, side, reason });
  }

  return {
    verify(socket, side) {
      const chain = presentedChain(socket);
      const verified = moments.isUsable
        ? judge(chain, side)
        : ({ ok: false, reason: 'the time is not known yet' } as const);
      if (!verified.ok) {
        say(socket.remoteAddress, side, verified.reason);
        return undefined;
      }
      const { peer } = verified;
      const { bundle } = trust.current.value;
      admissions.set(peer, { chain, side, bundle, onGrace: peer.notAfter < clock.now() });
      return peer;
    },
    mayResume(peer) {
      const admission = admissions.get(peer);
      return admission !== undefined && moments.isUsable && judge(admission.chain, admission.side).ok;
    },
    mayStay(peer) {
      const admission = admissions.get(peer);
      if (admission === undefined || (admission.onGrace && !moments.isGraced)) return false;
      const { bundle, revoked } = trust.current.value;
      const isRevoked = (certificate: X509Certificate) => revoked.has(certificate.serialNumber);
      if (admission.chain.some(isRevoked)) return false;
      // as long as the authorities are the same, and all in force, the path that was found then is still one
      if (bundle === admission.bundle && !bundle.intermediates.some(isRevoked)) return true;
      return verifyChain(admission.chain, bundle, admission.side, {
        ...moments.peer(),
        expiredToleranceMs: Number.POSITIVE_INFINITY,
      }).ok;
    },
  };
}

import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { type Clock, secondMs } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { presentedChain, presentedFingerprint } from '../identity/contexts.ts';
import { type Verification, verifyChain } from '../identity/verify.ts';
import type { Peer } from '../model/identity.ts';
import type { Peers } from '../proxy/peers.ts';
import { isStillGood, type JudgedChain, JudgedChains } from './judged-chains.ts';
import type { Moments } from './moments.ts';
import type { Trust } from './trust.ts';

/** Refusals are logged so seldom: anyone can knock. */
const logEveryMs = secondMs;

type Side = 'client' | 'server';

/** What one was let in on, to be judged again when trust changes or the link comes back. */
interface Admission {
  readonly judged: JudgedChain;
  readonly side: Side;
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
  const known = new JudgedChains();
  /** By the object that stands for one connection's peer. */
  const admissions = new WeakMap<Peer, Admission>();
  let loggedAt = Number.NEGATIVE_INFINITY;

  /** Workloads alone: a node, a master and a broker have no calls of their own, and whoever has such a key shall not make any. */
  function judge(chain: readonly X509Certificate[], side: Side): Verification {
    const verified = verifyChain(chain, trust.current.value.bundle, side, moments.peer());
    if (!verified.ok || verified.peer.id.kind === 'workload') return verified;
    return { ok: false, reason: `${verified.peer.uri} is no workload` };
  }

  /** What is behind a connection, or why it is refused. */
  function judgeSocket(socket: TLSSocket, side: Side): JudgedChain | string {
    if (!moments.isUsable) return 'the time is not known yet';
    const { bundle } = trust.current.value;
    const key = `${side} ${presentedFingerprint(socket)}`;
    const before = known.find(key, bundle, moments.peer());
    if (before !== undefined) return before;
    const chain = presentedChain(socket);
    const verified = judge(chain, side);
    if (!verified.ok) return verified.reason;
    const { peer, path } = verified;
    const judged = { peer, chain, path, bundle };
    known.remember(key, judged);
    return judged;
  }

  function say(address: string | undefined, side: Side, reason: string): void {
    if (clock.monotonic() - loggedAt < logEveryMs) return;
    loggedAt = clock.monotonic();
    log.info('a peer was refused', { address, side, reason });
  }

  return {
    verify(socket, side) {
      const judged = judgeSocket(socket, side);
      if (typeof judged === 'string') {
        say(socket.remoteAddress, side, judged);
        return undefined;
      }
      const peer = { ...judged.peer };
      admissions.set(peer, { judged, side, onGrace: peer.notAfter < clock.now() });
      return peer;
    },
    mayResume(peer) {
      const admission = admissions.get(peer);
      if (admission === undefined || !moments.isUsable) return false;
      const { judged, side } = admission;
      const mayResume = isStillGood(judged, trust.current.value.bundle, moments.peer()) || judge(judged.chain, side).ok;
      if (mayResume) admissions.set(peer, { judged, side, onGrace: peer.notAfter < clock.now() });
      return mayResume;
    },
    mayStay(peer) {
      const admission = admissions.get(peer);
      if (admission === undefined || (admission.onGrace && !moments.isGraced)) return false;
      const { judged, side } = admission;
      const { bundle, revoked } = trust.current.value;
      const isRevoked = (certificate: X509Certificate) => revoked.has(certificate.serialNumber);
      if (judged.chain.some(isRevoked)) return false;
      // as long as the authorities are the same, and all in force, the path that was found then is still one
      if (bundle === judged.bundle && !judged.path.some(isRevoked)) return true;
      return verifyChain(judged.chain, bundle, side, {
        ...moments.peer(),
        expiredToleranceMs: Number.POSITIVE_INFINITY,
      }).ok;
    },
  };
}

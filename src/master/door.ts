import type { Clock } from '../base/clock.ts';
import type { BrokerParts } from '../broker/broker.ts';
import type { Authority } from '../identity/authority.ts';
import { verifySocket } from '../identity/contexts.ts';
import type { Store } from '../store/store.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Clones } from './clones.ts';
import type { MasterConfig } from './config.ts';
import type { Fleet } from './fleet.ts';
import type { NodeEvents } from './node-events.ts';

/** Whom the broker in the master lets in, and who is told of it. */
export function makeDoor(
  parts: {
    readonly authority: Authority;
    readonly book: CertificateBook;
    readonly fleet: Fleet;
    readonly clones: Clones;
    readonly nodeEvents: NodeEvents;
    readonly joinTokens: Store['joinTokens'];
    readonly clock: Clock;
  },
  { offlineGraceMs }: Pick<MasterConfig, 'offlineGraceMs'>,
): Pick<BrokerParts, 'readPeer' | 'onSession' | 'knowsToken'> {
  const { authority, book, fleet, clones, nodeEvents, joinTokens, clock } = parts;
  const readPeer: BrokerParts['readPeer'] = socket => {
    const verified = verifySocket(socket, authority.bundle, 'client', {
      now: clock.now(),
      revoked: book.revoked,
      expiredToleranceMs: offlineGraceMs,
    });
    if (!verified.ok) return undefined;
    const { id, notAfter } = verified.peer;
    // the grace is for nodes that were away
    if (id.kind !== 'node' && notAfter <= clock.now()) return undefined;
    const isQuarantined = id.kind === 'node' && fleet.get(id.node)?.state === 'quarantined';
    return isQuarantined ? undefined : verified.peer;
  };
  const onSession: BrokerParts['onSession'] = ({ kind, identity, address, previousAddress }) => {
    if (identity.role === 'renewal' && kind === 'connected') nodeEvents.onExpired(identity.node, address);
    if (identity.role !== 'node' || kind === 'disconnected') return;
    clones.onConnected(identity.node, address);
    if (previousAddress !== undefined) clones.onTakeover({ node: identity.node, address, previousAddress });
  };
  const knowsToken = async (id: string) => ((await joinTokens.get(id))?.expiresAt ?? 0) > clock.now();
  return { readPeer, onSession, knowsToken };
}

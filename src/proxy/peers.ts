import type { TLSSocket } from 'node:tls';
import type { Peer } from '../model/identity.ts';

/** Judges who is on the other side of mesh connections. TLS proves the key alone: chain, time and revocation are asked here. */
export interface Peers {
  /** Who is on the other side, verified now; undefined refuses. Asked after the handshake, before a byte is taken or sent. */
  verify(socket: TLSSocket, side: 'client' | 'server'): Peer | undefined;
  /** May a session with one who was verified earlier be resumed now? */
  mayResume(peer: Peer): boolean;
  /** May an open connection stay? Revocation ends it; expiry alone does not, so that a rotation drops nothing. */
  mayStay(peer: Peer): boolean;
}

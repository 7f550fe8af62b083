import type { Buffer } from 'node:buffer';
import { connect, type OnReadOpts, type Socket } from 'node:net';
import { type ConnectionOptions, type SecureContext, TLSSocket, connect as tlsConnect } from 'node:tls';
import type { Cell } from '../../base/cell.ts';
import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import type { Peer } from '../../model/identity.ts';
import type { Connector } from './connection.ts';

/** Who the other side of a TLS connection is, as a client or as a server; undefined when its certificate is none of ours. */
export type ReadPeer = (socket: TLSSocket, side: 'client' | 'server') => Peer | undefined;

/** Plain TCP to the application of a workload. `readBuffer` is shared: what is in it is used up before the next read. */
export function plainConnector(host: string, port: number, readBuffer: Buffer): Connector {
  return {
    readyEvent: 'connect',
    connect: onBytes =>
      connect({ host, port, noDelay: true, allowHalfOpen: true, onread: onRead(readBuffer, onBytes) }),
    accepts: () => true,
  };
}

export interface MeshConnectorParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly readPeer: ReadPeer;
  readonly readBuffer: Buffer;
  /** The caller's own certificate. */
  readonly tls: Cell<SecureContext>;
}

export interface MeshAddress {
  readonly address: string;
  readonly port: number;
  readonly serverName: string;
  /** The SPIFFE id that the other side must have: its DNS names mean nothing. */
  readonly spiffeId: string;
}

/** What tls.connect passes on to its socket, though its types do not say so. */
interface SocketOptions {
  readonly onread: OnReadOpts;
}

/** Mutual TLS to the mesh port of another node (or of this one), where `serverName` is served. */
export function meshConnector(parts: MeshConnectorParts, to: MeshAddress): Connector {
  const { clock, log, readPeer, readBuffer, tls } = parts;
  // Node shows no certificate for a session that is resumed: whom it was with is remembered beside it
  let known: { readonly session: Buffer; readonly peer: Peer } | undefined;
  const accepted = new WeakMap<Socket, Peer>();
  const peerOf = (socket: TLSSocket) => (socket.isSessionReused() ? known?.peer : readPeer(socket, 'server'));
  return {
    readyEvent: 'secureConnect',
    connect(onBytes) {
      const options: ConnectionOptions & SocketOptions = {
        host: to.address,
        port: to.port,
        servername: to.serverName,
        secureContext: tls.value,
        minVersion: 'TLSv1.3',
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: true,
        // the chain is verified by TLS; who it is, is asked by `accepts`
        checkServerIdentity: () => undefined,
        onread: onRead(readBuffer, onBytes),
        ...(known !== undefined && { session: known.session }),
      };
      const socket = tlsConnect(options);
      socket.setNoDelay(true);
      socket.on('session', (ticket: Buffer) => {
        const peer = accepted.get(socket);
        if (peer !== undefined) known = { session: ticket, peer };
      });
      return socket;
    },
    accepts(socket) {
      const peer = socket instanceof TLSSocket && socket.authorized ? peerOf(socket) : undefined;
      if (peer !== undefined && peer.uri === to.spiffeId && peer.notAfter > clock.now()) {
        accepted.set(socket, peer);
        return true;
      }
      known = undefined;
      log.warn('an endpoint showed an identity that its service does not have', {
        endpoint: `${to.address}:${to.port}`,
        serverName: to.serverName,
        expected: to.spiffeId,
        shown: peer?.uri ?? 'none',
      });
      return false;
    },
  };
}

function onRead(buffer: Buffer, onBytes: (length: number, bytes: Buffer) => boolean) {
  return { buffer, callback: (length: number) => onBytes(length, buffer) };
}

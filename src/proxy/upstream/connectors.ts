import type { Buffer } from 'node:buffer';
import { connect, type OnReadOpts, type Socket } from 'node:net';
import { type ConnectionOptions, type SecureContext, TLSSocket, connect as tlsConnect } from 'node:tls';
import type { Cell } from '../../base/cell.ts';
import type { Log } from '../../base/log.ts';
import type { Peer } from '../../model/identity.ts';
import type { Peers } from '../peers.ts';
import type { Connector } from './connection.ts';

/** Plain TCP to the application of a workload. `readBuffer` is shared: what is in it is used up before the next read. */
export function plainConnector(host: string, port: number, readBuffer: Buffer): Connector<Socket> {
  return {
    readyEvent: 'connect',
    connect: onBytes =>
      connect({ host, port, noDelay: true, allowHalfOpen: true, onread: onRead(readBuffer, onBytes) }),
    accepts: () => true,
    mayStay: () => true,
  };
}

export interface MeshConnectorParts {
  readonly log: Log;
  readonly peers: Peers;
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

/** Node shows no certificate for a session that is resumed: whom it was with is remembered beside it, and who called. */
interface KnownSession {
  readonly session: Buffer;
  readonly peer: Peer;
  readonly caller: SecureContext;
}

/** What tls.connect passes on to its socket, though its types do not say so. */
interface SocketOptions {
  readonly onread: OnReadOpts;
}

/** Mutual TLS to the mesh port of another node (or of this one), where `serverName` is served. */
export function meshConnector(parts: MeshConnectorParts, to: MeshAddress): Connector<Socket> {
  const { log, peers, readBuffer, tls } = parts;
  let known: KnownSession | undefined;
  const offered = new WeakMap<Socket, KnownSession>();
  const accepted = new WeakMap<Socket, Peer>();

  /** A session says whom the caller was; with another certificate, or with a peer that holds no more, it is not offered. */
  function sessionToOffer(): KnownSession | undefined {
    if (known?.caller !== tls.value || !peers.mayResume(known.peer)) known = undefined;
    return known;
  }

  function peerOf(socket: TLSSocket): Peer | undefined {
    if (!socket.isSessionReused()) return peers.verify(socket, 'server');
    const peer = offered.get(socket)?.peer;
    return peer !== undefined && peers.mayResume(peer) ? peer : undefined;
  }

  return {
    readyEvent: 'secureConnect',
    connect(onBytes) {
      const caller = tls.value;
      const resumed = sessionToOffer();
      const options: ConnectionOptions & SocketOptions = {
        host: to.address,
        port: to.port,
        servername: to.serverName,
        secureContext: caller,
        minVersion: 'TLSv1.3',
        ALPNProtocols: ['http/1.1'],
        // OpenSSL knows neither the node's clock nor who is revoked: `accepts` asks those who do
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
        onread: onRead(readBuffer, onBytes),
        ...(resumed !== undefined && { session: resumed.session }),
      };
      const socket = tlsConnect(options);
      socket.setNoDelay(true);
      if (resumed !== undefined) offered.set(socket, resumed);
      socket.on('session', (session: Buffer) => {
        const peer = accepted.get(socket);
        if (peer !== undefined) known = { session, peer, caller };
      });
      return socket;
    },
    accepts(socket) {
      const peer = socket instanceof TLSSocket ? peerOf(socket) : undefined;
      if (peer?.uri === to.spiffeId) {
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
    mayStay(socket) {
      const peer = accepted.get(socket);
      return peer !== undefined && peers.mayStay(peer);
    },
  };
}

function onRead(buffer: Buffer, onBytes: (length: number, bytes: Buffer) => boolean) {
  return { buffer, callback: (length: number) => onBytes(length, buffer) };
}

import type { Buffer } from 'node:buffer';
import type { OnReadOpts } from 'node:net';
import { type ConnectionOptions, connect, type SecureContext, type TLSSocket } from 'node:tls';
import type { Cell } from '../../base/cell.ts';
import type { Log } from '../../base/log.ts';
import type { Peer } from '../../model/identity.ts';
import type { ServiceDocument } from '../../model/service.ts';
import type { Deadlines } from '../deadlines.ts';
import type { Peers } from '../peers.ts';
import { highWaterMark } from '../wire/byte-stream.ts';
import { muxProtocol } from '../wire/mux/frame.ts';
import type { Loans } from '../wire/mux/loans.ts';
import { MuxSession } from '../wire/mux/session.ts';
import type { ConnectionEvents, Connector } from './connection.ts';
import { readInto } from './plain-connector.ts';
import type { Bounds } from './pool.ts';

export interface MeshConnectorParts {
  readonly log: Log;
  readonly peers: Peers;
  readonly deadlines: Deadlines;
  readonly loans: Loans;
  readonly readBuffer: Buffer;
  /** The caller's own certificate. */
  readonly tls: Cell<SecureContext>;
  readonly bounds: Pick<Bounds, 'connections'>;
}

export interface MeshAddress {
  readonly address: string;
  readonly port: number;
  readonly serverName: string;
  /** The SPIFFE id that the other side must have: its DNS names mean nothing. */
  readonly spiffeId: string;
  readonly protocol: ServiceDocument['protocol'];
}

/** Node shows no certificate for a session that is resumed: whom it was with is remembered beside it, and who called. */
interface KnownSession {
  readonly session: Buffer;
  readonly peer: Peer;
  readonly caller: SecureContext;
}

/** What tls.connect passes on to its socket, though its types do not say so. */
interface SocketOptions {
  readonly highWaterMark: number;
  readonly onread: OnReadOpts;
}

/** One TLS connection while it is opened, and those who wait for it. */
interface Dial {
  readonly waiters: Set<Waiter>;
  readonly socket: TLSSocket;
}

/** One that is open. */
interface Link {
  readonly peer: Peer;
  /** Absent while it carries HTTP/1.1 alone. */
  session?: MuxSession;
}

/**
 * Mutual TLS to the mesh port of another node (or of this one), where `serverName` is served. To an agent that speaks
 * `muxProtocol` one TLS connection carries many streams; whoever needs the first ones waits for the same handshake.
 * To any other peer each connection is one of its own.
 */
export class MeshConnector implements Connector {
  readonly #parts: MeshConnectorParts;
  readonly #to: MeshAddress;
  readonly #links = new Map<TLSSocket, Link>();
  #known: KnownSession | undefined;
  /** The one that newcomers wait for too. */
  #shared: Dial | undefined;
  /** As of the last handshake. */
  #lacksMux = false;
  #closed = false;
  readonly #unwatch: () => void;

  constructor(parts: MeshConnectorParts, to: MeshAddress) {
    this.#parts = parts;
    this.#to = to;
    // what goes on with the old certificate ends as its requests do
    this.#unwatch = parts.tls.watch(() => this.#drain());
  }

  connect(events: ConnectionEvents, fresh: boolean): { destroy(): unknown } {
    this.recheck();
    // TCP asks for streams that nobody has used, and is sent nothing twice: any connection will do
    if (this.#parts.bounds.connections.multiplexed && (!fresh || this.#to.protocol === 'tcp')) {
      for (const { session } of this.#links.values()) {
        if (session !== undefined && this.#hasRoom(session)) return openStream(session, events, true);
      }
    }
    const waiter = new Waiter(events);
    this.#wait(waiter);
    return waiter;
  }

  recheck(): void {
    for (const [socket, { peer, session }] of this.#links) {
      if (!this.#parts.peers.mayStay(peer)) (session ?? socket).destroy();
    }
  }

  close(): void {
    this.#closed = true;
    this.#unwatch();
    this.#drain();
  }

  #drain(): void {
    for (const { session } of this.#links.values()) session?.drain();
  }

  #hasRoom(session: MuxSession): boolean {
    return session.hasRoom && session.size < this.#parts.bounds.connections.maxStreams;
  }

  #wait(waiter: Waiter): void {
    const shares = this.#parts.bounds.connections.multiplexed && !this.#lacksMux;
    const dial = (shares ? this.#shared : undefined) ?? this.#dial();
    if (shares) this.#shared = dial;
    waiter.wait(dial);
  }

  #dial(): Dial {
    const { address, port, serverName } = this.#to;
    const { bounds, readBuffer, tls } = this.#parts;
    const caller = tls.value;
    const resumed = this.#sessionToOffer();
    const reader = new Reader();
    const options: ConnectionOptions & SocketOptions = {
      host: address,
      port,
      servername: serverName,
      secureContext: caller,
      ALPNProtocols: bounds.connections.multiplexed ? [muxProtocol, 'http/1.1'] : ['http/1.1'],
      // OpenSSL knows neither the node's clock nor who is revoked: `#accept` asks those who do
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      highWaterMark,
      onread: readInto(readBuffer, length => reader.onBytes(length, readBuffer)),
      ...(resumed !== undefined && { session: resumed.session }),
    };
    const socket = connect(options);
    socket.setNoDelay(true);
    const dial: Dial = { waiters: new Set(), socket };
    socket.on('session', (session: Buffer) => {
      const peer = this.#links.get(socket)?.peer;
      if (peer !== undefined) this.#known = { session, peer, caller };
    });
    socket.on('secureConnect', () => this.#onHandshake(dial, reader, resumed?.peer));
    // errors are followed by 'close'
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#links.delete(socket);
      this.#unshare(dial);
      for (const waiter of dial.waiters) waiter.fail();
    });
    return dial;
  }

  /** A session says whom the caller was; with another certificate, or with a peer that holds no more, it is not offered. */
  #sessionToOffer(): KnownSession | undefined {
    const { peers, tls } = this.#parts;
    if (this.#known?.caller !== tls.value || !peers.mayResume(this.#known.peer)) this.#known = undefined;
    return this.#known;
  }

  #onHandshake(dial: Dial, reader: Reader, resumed: Peer | undefined): void {
    const { socket, waiters } = dial;
    this.#unshare(dial);
    const peer = this.#accept(socket, resumed);
    if (peer === undefined) {
      socket.destroy();
      return;
    }
    const { keepaliveMs } = this.#parts.bounds.connections;
    if (keepaliveMs > 0) socket.setKeepAlive(true, keepaliveMs);
    const link: Link = { peer };
    this.#links.set(socket, link);
    this.#lacksMux = socket.alpnProtocol !== muxProtocol;
    if (this.#lacksMux) this.#handOut(dial, reader);
    else {
      const session = this.#startSession(socket, reader);
      link.session = session;
      for (const waiter of waiters) {
        if (this.#hasRoom(session)) openStream(session, waiter.events, false);
        else this.#wait(waiter);
      }
      if (this.#closed) session.drain();
    }
    waiters.clear();
  }

  #startSession(socket: TLSSocket, reader: Reader): MuxSession {
    const { log } = this.#parts;
    const { address, port, serverName } = this.#to;
    const onBroken = (reason: string) => {
      const endpoint = `${address}:${port}`;
      log.warn('an endpoint broke the rules of a multiplexed connection', { endpoint, serverName, reason });
    };
    const session = new MuxSession(socket, 'client', this.#parts, { onStream: () => false, onBroken });
    reader.onBytes = (length, bytes) => {
      session.receive(bytes, length);
      return true;
    };
    return session;
  }

  /** The peer speaks HTTP/1.1 alone: the connection is for who has waited longest, the others need their own. */
  #handOut({ socket, waiters }: Dial, reader: Reader): void {
    const [first, ...others] = waiters;
    for (const waiter of others) this.#wait(waiter);
    if (first === undefined) {
      socket.destroy();
      return;
    }
    const { events } = first;
    // either end of a TCP connection may come first
    socket.allowHalfOpen = this.#to.protocol === 'tcp';
    reader.onBytes = (length, bytes) => events.onBytes(length, bytes);
    socket.on('close', hadError => events.onClosed(hadError));
    events.onConnected(socket);
  }

  /** Who is on the other side, if it is who it should be. */
  #accept(socket: TLSSocket, resumed: Peer | undefined): Peer | undefined {
    const { log, peers } = this.#parts;
    const { address, port, serverName, spiffeId } = this.#to;
    const isResumed = socket.isSessionReused();
    const peer = isResumed ? resumed : peers.verify(socket, 'server');
    if (peer?.uri === spiffeId && (!isResumed || peers.mayResume(peer))) return peer;
    this.#known = undefined;
    log.warn('an endpoint showed an identity that its service does not have', {
      endpoint: `${address}:${port}`,
      serverName,
      expected: spiffeId,
      shown: peer?.uri ?? 'none',
    });
    return undefined;
  }

  #unshare(dial: Dial): void {
    if (this.#shared === dial) this.#shared = undefined;
  }
}

/** Whose turn it is to get what a socket reads; until that is known it may send nothing. */
class Reader {
  onBytes: ConnectionEvents['onBytes'] = () => false;
}

/** One who waits for a handshake; may give up. */
class Waiter {
  readonly events: ConnectionEvents;
  #dial: Dial | undefined;

  constructor(events: ConnectionEvents) {
    this.events = events;
  }

  wait(dial: Dial): void {
    this.#dial = dial;
    dial.waiters.add(this);
  }

  fail(): void {
    this.events.onClosed(true);
  }

  destroy(): void {
    const dial = this.#dial;
    if (dial === undefined || !dial.waiters.delete(this)) return;
    process.nextTick(() => this.fail());
    // if it hangs, nobody should wait for it any more
    if (dial.waiters.size === 0) dial.socket.destroy();
  }
}

function openStream(session: MuxSession, events: ConnectionEvents, joins: boolean): { destroy(): unknown } {
  const stream = session.open();
  stream.on('data', (bytes: Buffer) => events.onBytes(bytes.length, bytes));
  stream.on('retire', () => events.onRetired());
  stream.on('close', (hadError: boolean) => events.onClosed(hadError));
  events.onConnected(stream, joins);
  return stream;
}

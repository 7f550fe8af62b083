import type { Buffer } from 'node:buffer';
import { createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { Admission, type AdmissionBounds, Shares } from './admission.ts';
import { never } from './deadlines.ts';
import { renewTickets } from './session-tickets.ts';
import { type ByteStream, highWaterMark } from './wire/byte-stream.ts';
import { Downstream } from './wire/downstream.ts';
import type { DownstreamParts } from './wire/downstream-parts.ts';
import type { Pipeline } from './wire/exchange.ts';
import { muxProtocol } from './wire/mux/frame.ts';
import { type MuxParts, MuxSession } from './wire/mux/session.ts';
import type { WorkloadIndex } from './workload.ts';

/** A TLS handshake may take this long. */
const handshakeTimeoutMs = 10_000;
const backlog = 1024;
/** Beyond the bound, so many are accepted for as long as it takes to make room for them, or to close them. */
const sparePlaces = 64;
/** So that clients that vanished without a word are noticed. */
const keepAlive = { keepAlive: true, keepAliveInitialDelay: 30_000 };

export interface ListenAddress {
  /** Absent: all addresses of the node. */
  readonly host?: string | undefined;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** A client's connection, as far as the port's end concerns it. */
export interface Draining {
  /** Takes no more requests, and ends when those it has are answered. */
  drain(): void;
  /** When its time is up, if it waits for a request and can give way to another connection. */
  readonly waitsUntil?: number;
  giveWay?(): void;
}

/** A socket that listens before this process does: the server of another one, or a descriptor. */
export type GivenListener = Server | { readonly fd: number };

/** Sockets that listen already, by name: `mesh`, `outbound`, and `port <host>:<port>` for those of tasks (`*` for all addresses). */
export interface GivenListeners {
  take(name: string): Promise<GivenListener | undefined>;
}

/** How requests are read from a connection. */
export interface Serving {
  /** What has been read of it already; it is then paused. */
  readonly early?: Buffer | undefined;
  /** Takes it over when it turns out to speak HTTP/2, with what was read of it; absent: it is refused. */
  readonly onHttp2?: ((early: Buffer) => void) | undefined;
}

/** One port with its client connections, from accept to close. */
export class Listener {
  readonly server: Server;
  readonly #maxStreams: number;
  readonly #log: Log;
  readonly #admission: Admission;
  /** What a drain ends: single connections, and those that carry many streams. */
  readonly #connections = new Set<Draining>();
  #streams = 0;
  readonly #streamShares: Shares;
  #draining = false;

  constructor(server: Server, bounds: AdmissionBounds, log: Log) {
    this.server = server;
    this.#maxStreams = bounds.connections;
    this.#streamShares = new Shares(bounds.ofOneSource);
    this.#log = log;
    this.#admission = new Admission(bounds);
    server.maxConnections = bounds.connections + sparePlaces;
    // an accept may fail, for want of descriptors; the listener goes on
    server.on('error', error => {
      if (server.listening) log.warn('a connection could not be accepted', { reason: messageOf(error) });
    });
    server.on('connection', (socket: Socket) => {
      const mayStay = this.#admission.enter(socket) && (!this.#admission.isOverfull || this.#makeRoom());
      if (!mayStay) socket.destroy();
    });
  }

  get open(): number {
    return this.#admission.sockets.size;
  }

  /** Listens there, or on a socket that listens already; returns the port, or throws START_FAILED with what is in the way. */
  listen(address: ListenAddress, given?: GivenListener): Promise<number> {
    const server = this.server;
    const { host, port } = address;
    return new Promise((resolve, reject) => {
      const onError = (cause: Error) => {
        const sentence = `the proxy cannot listen on ${host ?? 'all addresses'}, port ${port}: ${cause.message}`;
        reject(new MesoliteError('START_FAILED', sentence, { cause }));
      };
      server.once('error', onError);
      server.listen(given ?? { ...(host !== undefined && { host }), port, backlog }, () => {
        server.off('error', onError);
        const bound = server.address();
        resolve(typeof bound === 'object' && bound !== null ? bound.port : port);
      });
    });
  }

  /** A connection has done its TLS handshake. */
  established(socket: Socket): void {
    this.#admission.established(socket);
  }

  /** Reads requests from a connection that is ready for them. */
  serve(parts: DownstreamParts, stream: ByteStream, pipeline: Pipeline, { early, onHttp2 }: Serving = {}): void {
    const connection = new Downstream(parts, stream, pipeline, this.onGone, onHttp2);
    this.hold(connection);
    stream.resume();
    if (early !== undefined) connection.onClientData(early);
  }

  /** Drains it with the port, until `onGone` hears of its end. */
  hold(connection: Draining): void {
    this.#connections.add(connection);
    if (this.#draining) connection.drain();
  }

  /** A place for one stream of many on a connection, which counts as a connection does; the returned function gives it back. */
  takeStream(source: string): (() => void) | undefined {
    if (this.#streams >= this.#maxStreams || !this.#streamShares.take(source)) return undefined;
    this.#streams++;
    return () => {
      this.#streams--;
      this.#streamShares.give(source);
    };
  }

  /** Hands out each stream of a multiplexed connection, which drains by itself; streams of all of them count as connections do. */
  serveMany(parts: MuxParts, socket: TLSSocket, accept: (stream: ByteStream) => void): void {
    const source = socket.remoteAddress ?? '';
    const onStream = (stream: ByteStream) => {
      const giveBack = this.takeStream(source);
      if (giveBack === undefined) return false;
      stream.on('close', giveBack);
      accept(stream);
      return true;
    };
    const onBroken = (reason: string) => {
      const client = socket.remoteAddress;
      this.#log.warn('a client broke the rules of a multiplexed connection', { client, reason });
    };
    const session = new MuxSession(socket, 'server', parts, { onStream, onBroken });
    this.hold(session);
    socket.on('data', (bytes: Buffer) => session.receive(bytes, bytes.length));
    socket.on('error', () => {});
    socket.on('close', () => this.onGone(session));
  }

  /** Takes no more connections and ends those it has as their requests end; resolves when all are gone. */
  drain(): Promise<void> {
    const closed = new Promise<void>(resolve => this.server.close(() => resolve()));
    this.#draining = true;
    for (const connection of this.#connections) connection.drain();
    return closed;
  }

  /** Cuts off what is left. */
  destroy(): void {
    for (const socket of this.#admission.sockets) socket.destroy();
  }

  readonly onGone = (connection: Draining): void => {
    this.#connections.delete(connection);
  };

  /** Closes the connection that has waited for a request longest of its time; false when all have one. */
  #makeRoom(): boolean {
    let next: Draining | undefined;
    for (const connection of this.#connections) {
      const waitsUntil = connection.waitsUntil ?? never;
      if (waitsUntil < (next?.waitsUntil ?? never)) next = connection;
    }
    next?.giveWay?.();
    return next !== undefined;
  }
}

/**
 * The plain port on loopback that tasks use as their HTTP proxy. A plain client may end its side and wait for the answer;
 * over TLS, as in Envoy, an end means that the client has gone: it is how a cancelled call looks.
 */
export function outboundServer(onConnection?: (socket: Socket) => void): Server {
  return createServer({ noDelay: true, allowHalfOpen: true, highWaterMark, ...keepAlive }, onConnection);
}

export interface MeshServerParts {
  readonly clock: Clock;
  readonly workloads: () => WorkloadIndex;
  readonly onFailedHandshake: () => void;
  readonly onConnection: (socket: TLSSocket, serverName: string) => void;
}

/** Who answers clients that send no server name: a key and certificates as PEM. */
export interface DefaultIdentity {
  readonly serverName: string;
  readonly key: string;
  readonly cert: string;
  readonly ca: string;
}

export interface MeshServerSettings {
  /** Absent: clients that send no server name are refused. */
  readonly unnamed: DefaultIdentity | undefined;
  /** Absent: TLS 1.3 alone. */
  readonly olderTls: { readonly ciphers: string } | undefined;
}

/** The mesh port: TLS with client certificates, which `onConnection` judges; the server name picks the workload and so the certificate. */
export function meshServer(parts: MeshServerParts, { unnamed, olderTls }: MeshServerSettings): Server {
  const { clock, workloads, onFailedHandshake, onConnection } = parts;
  const server = createTlsServer(
    {
      minVersion: olderTls === undefined ? 'TLSv1.3' : 'TLSv1.2',
      ...olderTls,
      requestCert: true,
      // OpenSSL knows neither the node's clock nor who is revoked
      rejectUnauthorized: false,
      ALPNProtocols: [muxProtocol, 'h2', 'http/1.1'],
      noDelay: true,
      highWaterMark,
      ...keepAlive,
      handshakeTimeout: handshakeTimeoutMs,
      // sessions may be resumed, for any workload of this node: the peer's certificate is part of the session
      sessionIdContext: 'mesolite',
      ...(unnamed !== undefined && { key: unnamed.key, cert: unnamed.cert, ca: unnamed.ca }),
      SNICallback(serverName, answer) {
        const workload = workloads().byServerName.get(serverName);
        if (workload === undefined) answer(new Error('no workload has this server name'));
        else answer(null, workload.tls.value);
      },
    },
    socket => {
      const serverName = typeof socket.servername === 'string' ? socket.servername : unnamed?.serverName;
      if (serverName === undefined) socket.destroy();
      else onConnection(socket, serverName);
    },
  );
  renewTickets(server, clock);
  server.on('tlsClientError', onFailedHandshake);
  return server;
}

import { Buffer } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import mqttPacket from 'mqtt-packet';
import type { Cell } from '../base/cell.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import { messageBounds } from '../model/message.ts';
import { hasWildcard } from '../model/topic-tree.ts';
import { isOwnFilter, parseTopic } from '../model/topics.ts';
import type { Transport } from './connection.ts';
import { type BrokerStats, makeCounters } from './counters.ts';
import { type BrokerLimits, defaultLimits } from './limits.ts';
import { Retained } from './retained.ts';
import { type RoutedPacket, Routing } from './routing.ts';
import { type SessionParts, Sessions } from './sessions.ts';
import { SourceRates } from './source-rates.ts';
import { makeWebSocketDoor, type WebSocketDoor } from './websocket.ts';

export interface BrokerParts extends SessionParts {
  /** Key, chain and the roots of clients; a swap is in force from the next connection on. */
  readonly tls: Cell<SecureContextOptions>;
}

export interface BrokerSettings {
  readonly trustDomain: string;
  /** 0 lets the system choose; see `address`. */
  readonly port: number;
  /** All addresses when absent, with or without IPv6. */
  readonly host?: string;
  readonly limits?: Partial<BrokerLimits>;
}

/** The embedded MQTT 3.1.1 broker on mutual TLS: nobody says or hears anything that `admission.ts` does not allow. */
export class Broker {
  readonly #parts: BrokerParts;
  readonly #settings: BrokerSettings;
  readonly #limits: BrokerLimits;
  readonly #counters = makeCounters();
  readonly #routing = new Routing();
  readonly #retained: Retained;
  readonly #sessions: Sessions;
  readonly #sources: SourceRates;
  readonly #webSockets: WebSocketDoor;
  /** Settles when everything is closed, after the signal given to `start` has aborted. */
  readonly closed: Promise<void>;
  readonly #sockets = new Set<Socket>();
  #resolveClosed: () => void = () => {};
  #aedes: Aedes | undefined;
  #address: AddressInfo | undefined;

  constructor(parts: BrokerParts, settings: BrokerSettings) {
    this.#parts = parts;
    this.#settings = settings;
    this.#limits = { ...defaultLimits, ...settings.limits };
    this.#retained = new Retained({
      maxMessages: this.#limits.maxRetainedMessages,
      maxBytes: this.#limits.maxRetainedBytes,
    });
    this.#sessions = new Sessions(parts, settings.trustDomain, this.#limits, this.#counters);
    this.#sources = new SourceRates(this.#limits.connectionsPerSource, this.#limits.maxSources);
    this.#webSockets = this.#makeDoor();
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve;
    });
  }

  /** Where it listens, once started. */
  get address(): AddressInfo {
    if (this.#address === undefined) throw new MesoliteError('UNAVAILABLE', 'the broker has not started');
    return this.#address;
  }

  /** Listens until the signal aborts; throws START_FAILED when the port or the host cannot be had. */
  async start(signal: AbortSignal): Promise<void> {
    // the cache of all 65,536 numbers costs 18 MB
    mqttPacket.writeToStream.cacheNumbers = false;
    const aedes = new Aedes({
      ...this.#sessions.hooks(),
      mq: this.#routing,
      persistence: this.#retained,
      // sessions have a deadline of their own, on the clock
      connectTimeout: 2 * this.#limits.connectTimeoutMs,
      drainTimeout: this.#limits.drainTimeoutMs,
    });
    this.#sessions.follow(aedes);
    await aedes.listen();
    const server = this.#makeServer(aedes);
    try {
      this.#address = await listen(server, this.#settings);
    } catch (error) {
      aedes.close();
      throw error;
    }
    this.#aedes = aedes;
    const unwatch = this.#parts.tls.watch(options => server.setSecureContext(options));
    onAbort(signal, () => {
      unwatch();
      this.#stop(server, aedes);
    });
  }

  /** For `upgrade` of an HTTPS server that asks for a certificate: MQTT over WebSocket at /mqtt, admitted as on the broker's own port. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.#webSockets.upgrade(request, socket, head);
  }

  /** Publishes from within the process; resolves when it is handed over. Throws INVALID_INPUT, TOO_LARGE, QUEUE_FULL, UNAVAILABLE. */
  async publish(
    topic: string,
    payload: Uint8Array,
    options: { readonly qos: 0 | 1; readonly retain: boolean },
  ): Promise<void> {
    if (parseTopic(topic) === undefined) throw new MesoliteError('INVALID_INPUT', `${topic}: not a topic of ours`);
    const { maxBytes } = messageBounds.down;
    if (payload.length > maxBytes) {
      throw new MesoliteError('TOO_LARGE', `${topic}: ${payload.length} bytes, at most ${maxBytes} are sent`);
    }
    const aedes = this.#aedes;
    if (aedes === undefined) throw new MesoliteError('UNAVAILABLE', 'the broker is not running');
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    await new Promise<void>((resolve, reject) => {
      const packet = { cmd: 'publish', topic, payload: bytes, dup: false, ...options } as const;
      aedes.publish(packet, error => (error ? reject(error) : resolve()));
    });
    this.#counters.published++;
  }

  /**
   * Hears messages within the process: `handler` must not throw. An exact topic's retained message is heard too. The returned
   * function stops it.
   */
  listen(filter: string, handler: (topic: string, payload: Uint8Array) => void): () => void {
    if (!isOwnFilter(filter)) throw new MesoliteError('INVALID_INPUT', `${filter}: not a filter of our topics`);
    let listening = true;
    const deliver = ({ topic, payload }: Pick<RoutedPacket, 'topic' | 'payload'>) => {
      if (listening) handler(topic, typeof payload === 'string' ? Buffer.from(payload) : payload);
    };
    this.#routing.on(filter, deliver);
    if (!hasWildcard(filter)) {
      setImmediate(() => {
        const retained = this.#retained.get(filter);
        if (retained !== undefined) deliver(retained);
      });
    }
    return () => {
      listening = false;
      this.#routing.removeListener(filter, deliver);
    };
  }

  /** Cuts a node off, as when its certificate does not hold any more; it may come back with one that does. */
  disconnect(node: string): void {
    this.#sessions.disconnect(node);
  }

  /** Cuts off whose certificates have expired meanwhile; those who have renewed them have moved to another connection. */
  endExpired(): void {
    this.#sessions.endExpired();
  }

  /** Plain data for metrics. */
  stats(): BrokerStats {
    const { refused, ...counters } = this.#counters;
    const sessions = this.#sessions;
    return {
      ...counters,
      refused: { ...refused },
      connected: {
        master: sessions.count('master'),
        node: sessions.count('node'),
        renewal: sessions.count('renewal'),
        join: sessions.count('join'),
      },
      connections: sessions.connections,
      webSockets: sessions.webSockets,
      bufferedBytes: sessions.bufferedBytes(),
      retainedMessages: this.#retained.size,
      retainedBytes: this.#retained.bytes,
    };
  }

  #makeServer(aedes: Aedes): Server {
    const server = createServer({
      ...this.#parts.tls.value,
      // a joiner has no certificate: admission decides, after `readPeer` has verified
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: 'TLSv1.3',
      handshakeTimeout: this.#limits.handshakeTimeoutMs,
      noDelay: true,
    });
    server.maxConnections = this.#limits.maxConnections;
    server.on('connection', socket => {
      if (this.#isLimited(socket)) socket.destroy();
      else this.#keep(socket);
    });
    server.on('secureConnection', socket => this.#sessions.accept(aedes, { stream: socket, tls: socket }));
    server.on('drop', () => this.#counters.connectionsDropped++);
    server.on('tlsClientError', (error, socket) => {
      this.#counters.handshakesFailed++;
      this.#parts.log.debug('a TLS handshake failed', { reason: messageOf(error) });
      socket.destroy();
    });
    return server;
  }

  /** Has its source connected too often of late? */
  #isLimited(socket: Socket): boolean {
    if (this.#sources.take(socket.remoteAddress, this.#parts.clock.monotonic())) return false;
    this.#counters.connectionsLimited++;
    return true;
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
  }

  #makeDoor(): WebSocketDoor {
    const whyNot = (socket: TLSSocket) => {
      if (this.#aedes === undefined) return 503;
      if (this.#isLimited(socket)) return 429;
      if (this.#sessions.connections < this.#limits.maxConnections) return undefined;
      this.#counters.connectionsDropped++;
      return 503;
    };
    const onOpen = (transport: Transport) => {
      const aedes = this.#aedes;
      if (aedes === undefined) return void transport.tls.destroy();
      this.#keep(transport.tls);
      this.#sessions.accept(aedes, transport);
    };
    const onRefused = () => this.#counters.upgradesRefused++;
    return makeWebSocketDoor({ whyNot, onOpen, onRefused }, { maxMessageBytes: this.#limits.maxPacketBytes.node });
  }

  #stop(server: Server, aedes: Aedes): void {
    this.#aedes = undefined;
    // first of all, or the last will of every client would be told
    this.#routing.close(() => {});
    server.close(() => aedes.close(this.#resolveClosed));
    for (const socket of this.#sockets) socket.destroy();
  }
}

function listen(server: Server, { host, port }: BrokerSettings): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(startFailed(error, host ?? 'all addresses', port));
    server.once('error', fail);
    server.listen({ port, ...(host === undefined ? {} : { host }) }, () => {
      server.off('error', fail);
      // a TCP server's address is an object
      resolve(server.address() as AddressInfo);
    });
  });
}

function startFailed(cause: NodeJS.ErrnoException, host: string, port: number): MesoliteError {
  const place = `port ${port} on ${host}`;
  const reasons: Readonly<Record<string, string>> = {
    EADDRINUSE: `${place} is in use: stop the program that listens there, or set another port for the broker`,
    EACCES: `${place} may not be opened by this user: set a port above 1023 for the broker`,
    EADDRNOTAVAIL: `${host} is not an address of this machine: set another host for the broker`,
    EAFNOSUPPORT: `this machine has no IPv6, which ${host} needs: set another host for the broker`,
  };
  const reason = reasons[cause.code ?? ''] ?? `${place} cannot be opened: ${messageOf(cause)}`;
  return new MesoliteError('START_FAILED', reason, { cause });
}

import type { TLSSocket } from 'node:tls';
import type {
  Aedes,
  AedesOptions,
  AedesPublishPacket,
  Client,
  ConnectPacket,
  PublishPacket,
  Subscription,
} from 'aedes';
import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log, LogFields } from '../base/log.ts';
import type { Peer } from '../model/identity.ts';
import type { Refusal, RefusalReason } from './admission.ts';
import {
  admit,
  type ConnectFields,
  type Identity,
  isPassedOver,
  mayPublish,
  maySubscribe,
  sessionName,
} from './admission.ts';
import { Buffers } from './buffers.ts';
import { Connection, type Transport } from './connection.ts';
import type { Counters } from './counters.ts';
import type { BrokerLimits } from './limits.ts';
import { SourceRates } from './source-rates.ts';

/** A session began, ended, or was taken over by a newer connection with the same identity: a copied card looks like that. */
export interface SessionEvent {
  readonly kind: 'connected' | 'disconnected' | 'takeover';
  readonly identity: Identity;
  readonly address: string;
  /** Where the connection came from that a takeover ended. */
  readonly previousAddress?: string;
}

export interface SessionParts {
  /** The verified certificate of a TLS connection; undefined when there is none that holds. */
  readonly readPeer: (socket: TLSSocket) => Peer | undefined;
  /** Is it the id of a token that may still be used? */
  readonly knowsToken: (tokenId: string) => boolean | Promise<boolean>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onSession?: (event: SessionEvent) => void;
}

/**
 * Stands between the sockets and aedes: who comes in, under which name, what each may say and hear, and how much of everything.
 * A subscription that is not granted is answered as such; any other offence ends the connection.
 */
export class Sessions {
  readonly #parts: SessionParts;
  readonly #trustDomain: string;
  readonly #limits: BrokerLimits;
  readonly #counters: Counters;
  readonly #connections = new Set<Connection>();
  readonly #byClient = new WeakMap<Client, Connection>();
  /** By session name; the newest connection with that name. */
  readonly #sessions = new Map<string, Connection>();
  readonly #buffers: Buffers;
  #webSockets = 0;
  readonly #joins: SourceRates;

  constructor(parts: SessionParts, trustDomain: string, limits: BrokerLimits, counters: Counters) {
    this.#parts = parts;
    this.#trustDomain = trustDomain;
    this.#limits = limits;
    this.#counters = counters;
    this.#joins = new SourceRates(limits.joinsPerSource, limits.maxSources);
    this.#buffers = new Buffers(limits.maxTotalBufferedBytes);
  }

  get connections(): number {
    return this.#connections.size;
  }

  get webSockets(): number {
    return this.#webSockets;
  }

  /** What waits for all clients, measured now. */
  bufferedBytes(): number {
    return this.#buffers.measure();
  }

  count(role: Identity['role']): number {
    let count = 0;
    for (const { identity } of this.#sessions.values()) if (identity?.role === role) count++;
    return count;
  }

  /** What aedes asks before it does anything. */
  hooks(): AedesOptions {
    return {
      preConnect: (client, packet, callback) => {
        void this.#preConnect(client, packet).then(goesOn => callback(goesOn ? null : new Error('refused'), goesOn));
      },
      authenticate: (client, _username, _password, callback) => {
        const connection = this.#byClient.get(client);
        const returnCode = connection === undefined ? 5 : this.#open(connection);
        if (returnCode === 0) callback(null, true);
        else callback(Object.assign(new Error('refused'), { returnCode }), false);
      },
      authorizePublish: (client, packet, callback) =>
        callback(this.#takes(client, packet) ? null : new Error('refused')),
      authorizeSubscribe: (client, subscription, callback) =>
        callback(null, this.#grants(client, subscription) ? subscription : null),
      authorizeForward: (client, packet) => this.#forward(client, packet),
    };
  }

  /** Follows what happens to clients inside aedes. */
  follow(aedes: Aedes): void {
    aedes.on('clientError', (client, error) => this.#failed(client, error));
    aedes.on('connectionError', (client, error) => this.#failed(client, error));
    aedes.on('keepaliveTimeout', client => this.#cut(this.#byClient.get(client), 'keepalive-timeout'));
    aedes.on('unsubscribe', (filters, client) => {
      for (const filter of filters) this.#byClient.get(client)?.filters.delete(filter);
    });
  }

  /** Takes a connection whose TLS handshake is done. */
  accept(aedes: Aedes, transport: Transport): void {
    const { stream, tls } = transport;
    const connection = new Connection(transport, this.#readPeer(tls), this.#limits.maxConnectBytes);
    this.#connections.add(connection);
    if (connection.isWebSocket) this.#webSockets++;
    this.#byClient.set(aedes.handle(stream), connection);
    const { clock } = this.#parts;
    // aedes reads in paused mode: these see each chunk before the parser does
    tls.on('data', (chunk: Uint8Array) => {
      const reason = connection.countBytes(chunk, clock.monotonic());
      if (reason !== undefined) this.#cut(connection, reason);
    });
    stream.on('data', (chunk: Uint8Array) => {
      const reason = connection.countPackets(chunk, clock.monotonic());
      if (reason !== undefined) this.#cut(connection, reason);
    });
    connection.stopDeadline = clock.after(this.#limits.connectTimeoutMs, () =>
      this.#cut(connection, 'connect-timeout'),
    );
    tls.once('close', () => this.#close(connection));
  }

  /** Cuts every connection of the node's certificate, admitted or not yet. */
  disconnect(node: string): void {
    for (const connection of [...this.#connections]) {
      const id = connection.peer?.id;
      if (id?.kind === 'node' && id.node === node) this.#cut(connection, 'revoked');
    }
  }

  /** Cuts those off whose certificates have ended by now while they were connected: who has another comes back with it. */
  endExpired(): void {
    const now = this.#parts.clock.now();
    for (const connection of [...this.#connections]) {
      const { identity, peer } = connection;
      const lives = identity?.role === 'node' || identity?.role === 'master';
      if (lives && peer !== undefined && peer.notAfter <= now) this.#cut(connection, 'expired');
    }
  }

  #readPeer(socket: TLSSocket): Peer | undefined {
    try {
      return this.#parts.readPeer(socket);
    } catch (error) {
      this.#parts.log.warn('a client certificate could not be read', { reason: messageOf(error) });
      return undefined;
    }
  }

  /** Decides over a CONNECT; false when there is nobody left to answer. */
  async #preConnect(client: Client, packet: ConnectPacket): Promise<boolean> {
    const connection = this.#byClient.get(client);
    if (connection === undefined) return false;
    const { clock } = this.#parts;
    if (connection.peer === undefined && !this.#joins.take(connection.address, clock.monotonic())) {
      connection.stopDeadline();
      connection.refusal = { reason: 'rate', returnCode: 3 };
      return true;
    }
    const isTokenKnown = connection.peer === undefined && (await this.#isTokenKnown(packet.username));
    connection.stopDeadline();
    if (connection.tls.destroyed) return false;
    const rules = { ...this.#limits, trustDomain: this.#trustDomain, now: clock.now(), isTokenKnown };
    const admission = admit(connection.peer, connectFields(packet), rules);
    if ('refusal' in admission) {
      connection.refusal = admission.refusal;
    } else {
      connection.identity = admission.identity;
      const { role } = admission.identity;
      connection.limit(this.#limits.maxPacketBytes[role], this.#limits.rates[role], clock.monotonic());
      packet.clientId = sessionName(admission.identity);
    }
    return true;
  }

  async #isTokenKnown(username: string | undefined): Promise<boolean> {
    try {
      return username !== undefined && (await this.#parts.knowsToken(username));
    } catch (error) {
      this.#parts.log.error('a join token could not be looked up', { reason: messageOf(error) });
      return false;
    }
  }

  /** Opens the session that `preConnect` decided on; the MQTT return code. */
  #open(connection: Connection): number {
    const { identity, tls } = connection;
    // it may have gone since: nothing would end its session
    if (tls.destroyed) return 5;
    connection.refusal ??= identity === undefined ? { reason: 'malformed', returnCode: 5 } : this.#whyNoSeat(identity);
    if (identity !== undefined && connection.refusal === undefined) {
      this.#register(connection, identity);
      return 0;
    }
    connection.identity = undefined;
    const { reason, returnCode } = connection.refusal ?? { reason: 'malformed', returnCode: 5 };
    this.#counters.refused[reason]++;
    this.#parts.log.debug('a client was refused', { reason, address: connection.address });
    return returnCode;
  }

  #whyNoSeat(identity: Identity): Refusal | undefined {
    if (identity.role === 'join' && this.count('join') >= this.#limits.maxJoiners)
      return { reason: 'capacity', returnCode: 3 };
    // the node is here with one that holds: this one is of a copied card
    const isHere = identity.role === 'renewal' && this.#sessions.has(sessionName({ ...identity, role: 'node' }));
    return isHere ? { reason: 'expired', returnCode: 2 } : undefined;
  }

  #register(connection: Connection, identity: Identity): void {
    const name = sessionName(identity);
    const previous = this.#sessions.get(name);
    this.#sessions.set(name, connection);
    const { address } = connection;
    if (previous === undefined) {
      this.#emit({ kind: 'connected', identity, address });
      return;
    }
    this.#counters.takeovers++;
    this.#emit({ kind: 'takeover', identity, address, previousAddress: previous.address });
    previous.destroy();
  }

  #close(connection: Connection): void {
    connection.stopDeadline();
    this.#connections.delete(connection);
    this.#buffers.forget(connection);
    if (connection.isWebSocket) this.#webSockets--;
    const { identity, address } = connection;
    if (identity === undefined) return;
    const name = sessionName(identity);
    if (this.#sessions.get(name) !== connection) return;
    this.#sessions.delete(name);
    this.#emit({ kind: 'disconnected', identity, address });
  }

  #takes(client: Client | null, packet: PublishPacket): boolean {
    const connection = client === null ? undefined : this.#byClient.get(client);
    if (connection?.identity === undefined) return false;
    // a last will comes here too, without `cmd`, and is due even when its client was cut off
    if (packet.cmd === 'publish' && connection.isCut) return false;
    if (mayPublish(connection.identity, packet.topic, packet)) {
      this.#counters.published++;
      return true;
    }
    if (isPassedOver(connection.identity, packet.topic, packet)) {
      // aedes acknowledges what it hands on, and nobody can listen to this
      packet.topic = nowhere;
      return true;
    }
    this.#cut(connection, 'publish', { topic: packet.topic });
    return false;
  }

  #grants(client: Client, { topic, qos }: Subscription): boolean {
    const connection = this.#byClient.get(client);
    const identity = connection?.identity;
    if (connection === undefined || identity === undefined) return false;
    const { filters } = connection;
    const hasRoom = filters.has(topic) || filters.size < this.#limits.maxSubscriptions;
    if (qos > 1 || !hasRoom || !maySubscribe(identity, topic)) {
      this.#counters.refused.subscribe++;
      const fields = { client: sessionName(identity), topic };
      if (connection.isWarned) this.#parts.log.debug('a subscription was refused', fields);
      else this.#parts.log.warn('a subscription was refused', fields);
      connection.isWarned = true;
      return false;
    }
    filters.add(topic);
    return true;
  }

  #forward(client: Client, packet: AedesPublishPacket): AedesPublishPacket | null {
    const connection = this.#byClient.get(client);
    if (connection === undefined || connection.isCut) return null;
    if (!connection.hasRoom(packet.payload.length, this.#limits.maxBufferedBytes)) {
      this.#cut(connection, 'slow');
      return null;
    }
    for (const fullest of this.#buffers.note(connection)) this.#cut(fullest, 'memory');
    return connection.isCut ? null : packet;
  }

  #failed(client: Client, error: Error): void {
    const connection = this.#byClient.get(client);
    if (connection === undefined || connection.refusal !== undefined) return;
    const reason = reasonOf(error);
    if (reason !== undefined) this.#cut(connection, reason, { error: error.message });
  }

  #cut(connection: Connection | undefined, reason: RefusalReason, fields: LogFields = {}): void {
    if (connection?.cut(reason) !== true) return;
    this.#counters.refused[reason]++;
    const { identity, address } = connection;
    if (identity === undefined) this.#parts.log.debug('a stranger was cut off', { reason, address, ...fields });
    else this.#parts.log.warn('a client was cut off', { client: sessionName(identity), reason, address, ...fields });
  }

  #emit(event: SessionEvent): void {
    this.#parts.onSession?.(event);
  }
}

/** A topic that no filter which is granted can match. */
const nowhere = '$nowhere';

/** Why aedes, or the WebSocket below it, gave a client up; undefined for the end of a connection like any other. */
function reasonOf(error: Error): RefusalReason | undefined {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  // aedes' own errors have a text alone
  if (code === undefined) return error.message === 'drain timeout' ? 'slow' : 'malformed';
  if (!code.startsWith('WS_ERR_')) return undefined;
  return code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' || code.startsWith('WS_ERR_TOO_MANY') ? 'too-large' : 'malformed';
}

function connectFields(packet: ConnectPacket): ConnectFields {
  const { will } = packet;
  return {
    clientId: packet.clientId,
    clean: packet.clean === true,
    keepaliveSeconds: packet.keepalive ?? 0,
    username: packet.username,
    will: will && {
      topic: will.topic,
      qos: will.qos ?? 0,
      retain: will.retain ?? false,
      payloadBytes: will.payload.length,
    },
  };
}

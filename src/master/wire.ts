import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { Cell } from '../base/cell.ts';
import type { Clock } from '../base/clock.ts';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { Broker, type BrokerParts } from '../broker/broker.ts';
import type { BrokerStats } from '../broker/counters.ts';
import type { Authority } from '../identity/authority.ts';
import { clientTlsOptions, serverTlsOptions, type TlsIdentity, verifySocket } from '../identity/contexts.ts';
import { tlsDial } from '../link/dial.ts';
import type { Link } from '../link/link.ts';
import { LocalLink } from '../link/local-link.ts';
import { MqttLink } from '../link/mqtt-link.ts';
import type { MasterConfig } from './config.ts';
import type { Publisher } from './outgoing.ts';

/** How this master and its nodes meet: over a broker in this process, or over one that others run. */
export interface Wire {
  readonly link: Link;
  /** For all that the master says. */
  readonly publisher: Publisher;
  /** Takes nodes that come by WebSocket, where there are such. */
  readonly upgrade: ((request: IncomingMessage, socket: Duplex, head: Buffer) => void) | undefined;
  /** Where nodes find the broker, once started: those that join, and those that have. */
  readonly door: { readonly hosts: readonly string[]; readonly port: number; readonly joinPort: number };
  /** Counters of the broker, where it is ours. */
  readonly stats: (() => BrokerStats) | undefined;
  /** Cuts off a node whose certificate was revoked, where the broker is ours. */
  disconnect(node: string): void;
  /** Cuts off whose certificates have expired while they were connected, likewise. */
  endExpired(): void;
  start(signal: AbortSignal): Promise<void>;
  /** Settles when it is closed, after the signal has aborted. */
  readonly closed: Promise<void>;
}

interface WireParts {
  readonly authority: Authority;
  readonly identity: Cell<TlsIdentity>;
  readonly clock: Clock;
  readonly log: Log;
}

/** The embedded broker. */
export function embeddedWire(
  { authority, identity, ...parts }: WireParts & Pick<BrokerParts, 'readPeer' | 'knowsToken' | 'onSession'>,
  { trustDomain, host, mqttPort, advertise }: MasterConfig,
): Wire {
  const tls = new Cell(serverTlsOptions(identity.value, authority.bundle, 'caller'));
  identity.watch(next => tls.set(serverTlsOptions(next, authority.bundle, 'caller')));
  const broker = new Broker({ ...parts, tls }, { trustDomain, host, port: mqttPort });
  const link = new LocalLink({ port: broker, log: parts.log });
  return {
    link,
    publisher: link,
    upgrade: (request, socket, head) => broker.upgrade(request, socket, head),
    get door() {
      const { port } = broker.address;
      return { hosts: advertise, port, joinPort: port };
    },
    stats: () => broker.stats(),
    disconnect: node => broker.disconnect(node),
    endExpired: () => broker.endExpired(),
    async start(signal) {
      await broker.start(signal);
      await link.start(signal);
    },
    closed: broker.closed,
  };
}

/** Not a client id that a node can have. */
const clientId = 'mesolite.master';
/** A master speaks to a whole fleet at once. */
const maxInFlight = 20_000;

/**
 * A broker that others run, spoken to with the master's certificate. It is not trusted: what matters is signed. While it is away the
 * master says nothing, for all is said anew when the link is up again, or when a node asks.
 */
export function externalWire(
  parts: WireParts & { readonly random: Random; readonly revoked: () => ReadonlySet<string> },
  { host, port, joinPort }: NonNullable<MasterConfig['broker']>,
): Wire {
  const { authority, identity, revoked, clock, log, random } = parts;
  const dial = tlsDial(
    {
      tls: () => clientTlsOptions(identity.value, authority.bundle, 'tls'),
      verifyServer: socket => {
        const verified = verifySocket(socket, authority.bundle, 'server', { now: clock.now(), revoked: revoked() });
        if (!verified.ok) return new MesoliteError('UNTRUSTED', verified.reason);
        const { id, uri } = verified.peer;
        return id.kind === 'broker' ? undefined : new MesoliteError('UNTRUSTED', `${uri} is no broker`);
      },
    },
    { host, port },
  );
  const link = new MqttLink({ dial, clock, random, log }, { clientId, maxInFlight });
  return {
    link,
    publisher: {
      async publish(topic, payload, options) {
        try {
          await link.publish(topic, payload, options);
        } catch (error) {
          if (!isMesoliteError(error, 'UNAVAILABLE')) throw error;
          log.debug('a message waits for the broker to be there', { topic });
        }
      },
    },
    upgrade: undefined,
    door: { hosts: [host], port, joinPort },
    stats: undefined,
    disconnect: () => {},
    endExpired: () => {},
    start: signal => link.start(signal),
    closed: link.closed,
  };
}

import type { Rate } from '../base/token-bucket.ts';
import { maxKeepaliveSeconds, messageBounds } from '../model/message.ts';
import type { Identity } from './admission.ts';

/** Topic, packet id and length fields around a payload. */
const overheadBytes = 1024;

/** What one client may say; with more it is cut off, and may come again. */
export interface ClientRates {
  /** MQTT packets of any kind. */
  readonly messages: Rate;
  /** All that comes in after the TLS handshake. */
  readonly bytes: Rate;
}

/** Every bound of the broker. */
export interface BrokerLimits {
  /** Connections open at once; more are closed unanswered. */
  readonly maxConnections: number;
  /** New connections of one source (an IPv4 address, an IPv6 /64); more are closed unanswered, before TLS. */
  readonly connectionsPerSource: Rate;
  /** Sources that are told apart. */
  readonly maxSources: number;
  /** Attempts of one source to come in without a certificate; more are refused before their token is looked up, and may try again. */
  readonly joinsPerSource: Rate;
  /** Joiners admitted at once. */
  readonly maxJoiners: number;
  /** From TCP accept to the end of the TLS handshake. */
  readonly handshakeTimeoutMs: number;
  /** From the TLS handshake to a whole CONNECT. */
  readonly connectTimeoutMs: number;
  /** One packet before a client is admitted. */
  readonly maxConnectBytes: number;
  /** One packet of an admitted client, by role. */
  readonly maxPacketBytes: Readonly<Record<Identity['role'], number>>;
  /** What may wait to be sent to one client; with more it is cut off. Room for two of the largest documents. */
  readonly maxBufferedBytes: number;
  /** What may wait for all clients together; with more, those for whom most waits are cut off until a quarter is free. */
  readonly maxTotalBufferedBytes: number;
  /** From the moment of its admission, by role. A burst has room for all that an agent holds back while it has no link. */
  readonly rates: Readonly<Record<Identity['role'], ClientRates>>;
  /** A client that has taken nothing for so long, with bytes waiting, is cut off. */
  readonly drainTimeoutMs: number;
  readonly maxKeepaliveSeconds: number;
  readonly maxWillBytes: number;
  /** Filters of one client. */
  readonly maxSubscriptions: number;
  readonly maxRetainedMessages: number;
  readonly maxRetainedBytes: number;
}

const kiB = 1024;
const miB = 1024 * kiB;

const nodeRates: ClientRates = {
  messages: { perSecond: 500, burst: 5000 },
  bytes: { perSecond: 4 * miB, burst: 64 * miB },
};

export const defaultLimits: BrokerLimits = {
  maxConnections: 10_000,
  connectionsPerSource: { perSecond: 50, burst: 1000 },
  maxSources: 10_000,
  // a site of many boards behind one address, switched on together
  joinsPerSource: { perSecond: 1, burst: 128 },
  maxJoiners: 256,
  handshakeTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  maxConnectBytes: 8 * kiB,
  maxPacketBytes: {
    master: messageBounds.down.maxBytes + overheadBytes,
    node: messageBounds.up.maxBytes + overheadBytes,
    renewal: messageBounds.up.maxBytes + overheadBytes,
    join: messageBounds.join.maxBytes + overheadBytes,
  },
  maxBufferedBytes: 2 * messageBounds.down.maxBytes + miB,
  maxTotalBufferedBytes: 128 * miB,
  rates: {
    // a master speaks for a whole fleet
    master: {
      messages: { perSecond: 50_000, burst: 200_000 },
      bytes: { perSecond: 256 * miB, burst: 1024 * miB },
    },
    node: nodeRates,
    renewal: nodeRates,
    join: { messages: { perSecond: 10, burst: 50 }, bytes: { perSecond: 64 * kiB, burst: 512 * kiB } },
  },
  drainTimeoutMs: 120_000,
  maxKeepaliveSeconds,
  maxWillBytes: 1024,
  maxSubscriptions: 1024,
  maxRetainedMessages: 20_000,
  maxRetainedBytes: 64 * miB,
};

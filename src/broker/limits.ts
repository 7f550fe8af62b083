import { maxKeepaliveSeconds, messageBounds } from '../model/message.ts';
import type { Identity } from './admission.ts';

/** Topic, packet id and length fields around a payload. */
const overheadBytes = 1024;

/** Every bound of the broker. */
export interface BrokerLimits {
  /** Connections open at once; more are closed unanswered. */
  readonly maxConnections: number;
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
  /** A client that has taken nothing for so long, with bytes waiting, is cut off. */
  readonly drainTimeoutMs: number;
  readonly maxKeepaliveSeconds: number;
  readonly maxWillBytes: number;
  /** Filters of one client. */
  readonly maxSubscriptions: number;
  readonly maxRetainedMessages: number;
  readonly maxRetainedBytes: number;
}

export const defaultLimits: BrokerLimits = {
  maxConnections: 10_000,
  maxJoiners: 256,
  handshakeTimeoutMs: 10_000,
  connectTimeoutMs: 5_000,
  maxConnectBytes: 8 * 1024,
  maxPacketBytes: {
    master: messageBounds.down.maxBytes + overheadBytes,
    node: messageBounds.up.maxBytes + overheadBytes,
    join: messageBounds.join.maxBytes + overheadBytes,
  },
  maxBufferedBytes: 2 * messageBounds.down.maxBytes + 1024 * 1024,
  drainTimeoutMs: 120_000,
  maxKeepaliveSeconds,
  maxWillBytes: 1024,
  maxSubscriptions: 1024,
  maxRetainedMessages: 20_000,
  maxRetainedBytes: 64 * 1024 * 1024,
};

import { type Identity, type RefusalReason, refusalReasons } from './admission.ts';

/** What the broker has seen since it started, for metrics. */
export interface BrokerStats {
  /** Sessions that are open now, by role. */
  readonly connected: Readonly<Record<Identity['role'], number>>;
  /** TLS connections that are open now, admitted or not. */
  readonly connections: number;
  /** Those of them that are WebSockets. */
  readonly webSockets: number;
  /** What waits to be sent to all clients now. */
  readonly bufferedBytes: number;
  readonly refused: Readonly<Record<RefusalReason, number>>;
  /** TLS handshakes that failed, those of sources that were turned away among them. */
  readonly handshakesFailed: number;
  /** Connections not taken because too many were open. */
  readonly connectionsDropped: number;
  /** Connections not taken because their source had too many of late. */
  readonly connectionsLimited: number;
  /** HTTP upgrades that were not to MQTT, or not taken for one of the reasons above. */
  readonly upgradesRefused: number;
  /** A second connection with the same identity replaced the first. */
  readonly takeovers: number;
  /** Messages taken from clients and from this process. */
  readonly published: number;
  readonly retainedMessages: number;
  readonly retainedBytes: number;
}

/** The counters that only rise. */
export interface Counters {
  readonly refused: Record<RefusalReason, number>;
  handshakesFailed: number;
  connectionsDropped: number;
  connectionsLimited: number;
  upgradesRefused: number;
  takeovers: number;
  published: number;
}

export function makeCounters(): Counters {
  const refused = Object.fromEntries(refusalReasons.map(reason => [reason, 0])) as Record<RefusalReason, number>;
  return {
    refused,
    handshakesFailed: 0,
    connectionsDropped: 0,
    connectionsLimited: 0,
    upgradesRefused: 0,
    takeovers: 0,
    published: 0,
  };
}

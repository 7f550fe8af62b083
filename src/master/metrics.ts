import { Counter, Gauge, Registry } from 'prom-client';
import type { BrokerStats } from '../broker/counters.ts';
import { type CertificateKind, certificateKinds } from '../model/certificate.ts';
import type { CertificateBook } from './certificate-book.ts';
import type { Fleet } from './fleet.ts';

/** For Prometheus: read from the parts in the moment of the question, nothing is gathered in between. */
export interface Metrics {
  readonly contentType: string;
  text(): Promise<string>;
}

/** Ends of what the fleet stands on; a workload's certificate ends with its task. */
const watchedKinds = certificateKinds.filter(kind => kind !== 'workload');

export function makeMetrics(parts: {
  readonly fleet: Pick<Fleet, 'list'>;
  readonly book: Pick<CertificateBook, 'revoked' | 'soonestEnd'>;
  /** Absent where the broker is not ours. */
  readonly broker: (() => BrokerStats) | undefined;
  readonly now: () => number;
}): Metrics {
  const { fleet, book, broker, now } = parts;
  const registry = new Registry();
  const registers = [registry];

  new Gauge({
    name: 'mesolite_nodes',
    help: 'Nodes by state',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const { state } of fleet.list()) this.inc({ state });
    },
  });
  new Gauge({
    name: 'mesolite_certificate_expiry_seconds',
    help: 'Time until the first certificate of this kind ends that has not been replaced',
    labelNames: ['kind'],
    registers,
    async collect() {
      this.reset();
      for (const kind of watchedKinds) setSeconds(this, kind, await book.soonestEnd(kind));
    },
  });
  new Gauge({
    name: 'mesolite_certificates_revoked',
    help: 'Serial numbers in the manifest',
    registers,
    collect() {
      this.set(book.revoked.size);
    },
  });

  function setSeconds(gauge: Gauge<'kind'>, kind: CertificateKind, end: number | undefined): void {
    if (end !== undefined) gauge.set({ kind }, Math.round((end - now()) / 1000));
  }

  if (broker !== undefined) addBroker(registry, broker);
  return { contentType: registry.contentType, text: () => registry.metrics() };
}

function addBroker(registry: Registry, broker: () => BrokerStats): void {
  const registers = [registry];
  new Gauge({
    name: 'mesolite_broker_sessions',
    help: 'Open MQTT sessions by role',
    labelNames: ['role'],
    registers,
    collect() {
      for (const [role, count] of Object.entries(broker().connected)) this.set({ role }, count);
    },
  });
  new Counter({
    name: 'mesolite_broker_refused_total',
    help: 'Clients turned away or cut off, and subscriptions not granted, by reason',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of Object.entries(broker().refused)) this.inc({ reason }, count);
    },
  });
  for (const [name, help, read] of brokerGauges) {
    new Gauge({ name: `mesolite_broker_${name}`, help, registers, collect: gaugeOf(() => read(broker())) });
  }
  for (const [name, help, read] of brokerCounters) {
    new Counter({ name: `mesolite_broker_${name}_total`, help, registers, collect: counterOf(() => read(broker())) });
  }
}

type Reading = readonly [name: string, help: string, read: (stats: BrokerStats) => number];

const brokerGauges: readonly Reading[] = [
  ['connections', 'Open TLS connections, admitted or not', stats => stats.connections],
  ['websockets', 'Those of them that are WebSockets', stats => stats.webSockets],
  ['buffered_bytes', 'What waits to be sent to all clients', stats => stats.bufferedBytes],
  ['retained_messages', 'Retained messages', stats => stats.retainedMessages],
  ['retained_bytes', 'Their size', stats => stats.retainedBytes],
];

const brokerCounters: readonly Reading[] = [
  ['handshakes_failed', 'TLS handshakes that failed', stats => stats.handshakesFailed],
  ['connections_dropped', 'Connections not taken because too many were open', stats => stats.connectionsDropped],
  ['connections_limited', 'Connections not taken because of their source', stats => stats.connectionsLimited],
  ['takeovers', 'Sessions replaced by another of the same identity', stats => stats.takeovers],
  ['published', 'Messages taken', stats => stats.published],
];

function gaugeOf(read: () => number): (this: Gauge) => void {
  return function (this: Gauge) {
    this.set(read());
  };
}

/** The broker counts; this shows its count. */
function counterOf(read: () => number): (this: Counter) => void {
  return function (this: Counter) {
    this.reset();
    this.inc(read());
  };
}

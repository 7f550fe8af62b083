import type { Buffer } from 'node:buffer';
import type { Clock } from '../base/clock.ts';
import { ruleText } from '../model/policy.ts';
import { newFacts } from './access-log.ts';
import { askingOf, type InboundConnection, type InboundParts } from './pipeline.ts';
import type { ByteStream } from './wire/byte-stream.ts';
import { abortStream } from './wire/client-socket.ts';
import { Exchange } from './wire/exchange.ts';
import { TcpConnection, type TcpParts } from './wire/tcp.ts';
import type { Served } from './workload.ts';

export interface TcpInboundParts {
  readonly inbound: InboundParts;
  readonly tcp: TcpParts;
  readonly clock: Clock;
}

/**
 * Takes a connection to a workload that speaks TCP: the policy decides once, as with Envoy, and what is open stays open under a newer
 * one. Who is denied is cut off without a word. There is a record of each connection when it is over.
 */
export function acceptTcp(
  { inbound, tcp, clock }: TcpInboundParts,
  { stream, early }: { readonly stream: ByteStream; readonly early?: Buffer | undefined },
  { workload, application, port }: Served,
  connection: InboundConnection,
): void {
  const { peer, sourceIp } = connection;
  const { verdict, shadow } = inbound.decisions.decideConnection(askingOf(connection, workload, port));
  const facts = newFacts('inbound', sourceIp);
  facts.source = peer?.principal ?? '-';
  facts.destination = workload.spiffeId.slice('spiffe://'.length);
  facts.task = workload.task;
  facts.allow = verdict.allow;
  facts.rule = ruleText(verdict);
  facts.shadow = shadow;
  facts.series = inbound.counters.series('inbound', application?.service ?? '-', facts.source);
  const exchange = new Exchange(clock.monotonic());
  exchange.source = peer?.principal ?? sourceIp;
  const onOver = () => inbound.accessLog.record(exchange, facts);
  if (verdict.allow && application !== undefined) {
    exchange.target = inbound.applications.targetOf(application);
    new TcpConnection(tcp, stream, { exchange, early, asksInHttp: false, onOver });
    return;
  }
  if (application === undefined) exchange.flag = 'UH';
  abortStream(stream);
  onOver();
}

import type { Clock } from '../base/clock.ts';
import { newFacts } from './access-log.ts';
import { ruleText } from './decisions.ts';
import type { InboundConnection, InboundParts } from './pipeline.ts';
import type { ByteStream } from './wire/byte-stream.ts';
import { abortStream } from './wire/client-socket.ts';
import { Exchange } from './wire/exchange.ts';
import { TcpConnection, type TcpParts } from './wire/tcp.ts';
import type { LocalWorkload, ServedEndpoint } from './workload.ts';

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
  stream: ByteStream,
  workload: LocalWorkload,
  endpoint: ServedEndpoint,
  { peer, sourceIp, localIp, serverName }: InboundConnection,
): void {
  const verdict = inbound.decisions.decideConnection({
    identity: workload.identity,
    principal: peer.principal,
    sourceIp,
    destinationIp: localIp,
    destinationPort: endpoint.port,
    serverName,
  });
  const facts = newFacts('inbound', sourceIp);
  facts.source = peer.principal;
  facts.destination = workload.spiffeId.slice('spiffe://'.length);
  facts.task = workload.task;
  facts.allow = verdict.allow;
  facts.rule = ruleText(verdict);
  facts.series = inbound.counters.series('inbound', endpoint.service, peer.principal);
  const exchange = new Exchange(clock.monotonic());
  exchange.source = peer.principal;
  const onOver = () => inbound.accessLog.record(exchange, facts);
  if (verdict.allow) {
    const target = inbound.applications.targetOf(endpoint);
    new TcpConnection(tcp, stream, { exchange, target, asksInHttp: false, onOver });
    return;
  }
  abortStream(stream);
  onOver();
}

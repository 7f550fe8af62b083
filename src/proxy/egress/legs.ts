import type { Buffer } from 'node:buffer';
import type { Clock } from '../../base/clock.ts';
import { hash32 } from '../../traffic/hash.ts';
import { newFacts, type RequestFacts } from '../access-log.ts';
import type { Listener } from '../listener.ts';
import type { ByteStream } from '../wire/byte-stream.ts';
import { abortStream } from '../wire/client-socket.ts';
import { Exchange, type Pipeline } from '../wire/exchange.ts';
import { connectionEstablished, TcpConnection, type TcpParts } from '../wire/tcp.ts';
import { type FixedRoute, hostOfService, type OutboundParts, OutboundPipeline } from './outbound.ts';
import { ServiceTarget } from './service-target.ts';
import { TaskConnection } from './task-connection.ts';

export interface LegParts {
  readonly outbound: OutboundParts;
  readonly tcp: TcpParts;
  readonly clock: Clock;
  /** Serves the requests of a connection. */
  readonly serveHttp: (client: LegClient, pipelineOf: () => Pipeline) => void;
}

export interface LegClient {
  /** May come paused. */
  readonly stream: ByteStream;
  /** What has been read of it. */
  readonly early?: Buffer | undefined;
  /** The port that it came to. */
  readonly listener: Listener;
  /** It is a CONNECT, which waits for its answer. */
  readonly asksInHttp: boolean;
}

/**
 * Carries a connection whose caller and service are known before its first byte: behind a CONNECT, and on a port of its own. What speaks
 * HTTP goes through the same engine, policy and records, request by request, as if each request had named its service.
 */
export function openLeg(parts: LegParts, client: LegClient, route: FixedRoute): void {
  const { outbound, tcp, clock, serveHttp } = parts;
  const { stream, early, asksInHttp } = client;
  const caller = outbound.workloads().byTask.get(route.task);
  const endpoints = caller && outbound.services.endpointsOf(route.key, caller, '');
  const connection = asksInHttp ? undefined : new TaskConnection(outbound.taskShares, stream);
  if (endpoints !== undefined && endpoints.protocol !== 'tcp') {
    if (asksInHttp) stream.write(connectionEstablished, 'latin1');
    const { sourceIp } = route;
    serveHttp(client, () => new OutboundPipeline(outbound, { sourceIp, connection, fixed: route }));
    return;
  }
  const exchange = new Exchange(clock.monotonic());
  const facts = factsOf(outbound, route);
  const onOver = () => outbound.accessLog.record(exchange, facts);
  const isKnown = caller !== undefined && endpoints !== undefined;
  if (!isKnown || connection?.isOf(caller.task) === false) {
    // nothing is known of the service yet, not even how to say so
    exchange.flag = isKnown ? 'UO' : 'UH';
    abortStream(stream);
    onOver();
    return;
  }
  facts.destination = endpoints.spiffeId.slice('spiffe://'.length);
  if (endpoints.hashKey?.from === 'source') exchange.hash = hash32(caller.task);
  exchange.target = new ServiceTarget(caller, endpoints);
  new TcpConnection(tcp, stream, { exchange, early, asksInHttp, onOver });
}

function factsOf({ workloads, counters }: OutboundParts, { task, key, sourceIp }: FixedRoute): RequestFacts {
  const facts = newFacts('outbound', sourceIp);
  facts.source = workloads().byTask.get(task)?.spiffeId.slice('spiffe://'.length) ?? '-';
  facts.task = task;
  facts.host = hostOfService(key);
  facts.allow = true;
  facts.rule = 'declared-upstream';
  facts.series = counters.series('outbound', key, facts.source);
  return facts;
}

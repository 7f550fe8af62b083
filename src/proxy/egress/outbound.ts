import type { Buffer } from 'node:buffer';
import type { Cell } from '../../base/cell.ts';
import type { Random } from '../../base/random.ts';
import { meshDomain } from '../../model/service.ts';
import type { Destination } from '../../traffic/route-action.ts';
import type { CompiledRoutes, ServiceRoutes } from '../../traffic/service-routes.ts';
import { type AccessLog, newFacts } from '../access-log.ts';
import type { Shares } from '../admission.ts';
import type { Counters } from '../counters.ts';
import { pathOf } from '../decisions.ts';
import type { RequestIds } from '../request-ids.ts';
import type { LocalAnswer } from '../respond.ts';
import type { Endpoints } from '../upstream/endpoints.ts';
import type { ByteStream } from '../wire/byte-stream.ts';
import type { Exchange, Pipeline, Takeover } from '../wire/exchange.ts';
import { valueText } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import { methodOf } from '../wire/methods.ts';
import type { LocalWorkload, WorkloadIndex } from '../workload.ts';
import {
  callerHasEnded,
  misdirected,
  notAProxyRequest,
  notYetKnown,
  speaksTcp,
  tasksUnknown,
  tooManyConnections,
  whoAreYou,
} from './answers.ts';
import { type AuthorityRoute, AuthorityRoutes, hostLine } from './authority-route.ts';
import { CallerProof } from './credential.ts';
import { noteHash } from './hash-key.ts';
import { answerInTime, Routing, shadowOf } from './routing.ts';
import { ServiceTargets } from './service-target.ts';
import type { Services } from './services.ts';
import type { TaskConnection } from './task-connection.ts';

export interface OutboundParts {
  readonly services: Services;
  readonly routes: Cell<CompiledRoutes>;
  readonly random: Random;
  readonly accessLog: AccessLog;
  readonly counters: Counters;
  readonly requestIds: RequestIds;
  readonly workloads: () => WorkloadIndex;
  /** Connections that tasks have to the ports for their calls, so that none has all of them. */
  readonly taskShares: Shares;
  /** Takes over a connection that asked for a service by CONNECT. */
  readonly onConnect: (stream: ByteStream, early: Buffer | undefined, route: FixedRoute) => void;
}

/** A caller and its service that are known before a byte is read: by a CONNECT that has proven them, or by the port. */
export interface FixedRoute {
  readonly task: string;
  /** `<name>.<namespace>`; the task declares it. */
  readonly key: string;
  readonly sourceIp: string;
}

/** Whose requests come on a connection. */
export interface OutboundClient {
  readonly sourceIp: string;
  /** Absent behind a CONNECT, where it has been counted. */
  readonly connection?: TaskConnection | undefined;
  readonly fixed?: FixedRoute | undefined;
}

/**
 * The steps of one task's connection to the outbound proxy: who calls → which service → which endpoints. With a fixed route the
 * first two are known, and what a request says of them is not believed.
 */
export class OutboundPipeline implements Pipeline {
  readonly #parts: OutboundParts;
  readonly #facts;
  readonly #connection: TaskConnection | undefined;
  readonly #fixed: FixedRoute | undefined;
  /** What a request on a fixed route calls by the path alone. */
  readonly #fixedHost: string;
  readonly #proof = new CallerProof();
  readonly #targets = new ServiceTargets();
  /** The one that `#facts` speak of. */
  #caller: LocalWorkload | undefined;
  readonly #routes: AuthorityRoutes;
  /** Made for the first request that has routes. */
  #routing: Routing | undefined;

  constructor(parts: OutboundParts, { sourceIp, connection, fixed }: OutboundClient) {
    this.#parts = parts;
    this.#routes = new AuthorityRoutes(parts);
    this.#connection = connection;
    this.#fixed = fixed;
    this.#fixedHost = fixed === undefined ? '' : hostOfService(fixed.key);
    this.#facts = newFacts('outbound', sourceIp);
  }

  admit(exchange: Exchange, head: Head, bytes: Buffer): LocalAnswer | undefined {
    this.#note(head, bytes);
    const caller = this.#identify(head, bytes);
    if (caller === undefined) {
      return this.#fixed === undefined ? this.#refuseStranger() : this.#deny('no-caller', callerHasEnded);
    }
    if (this.#fixed === undefined && head.authorityStart === head.authorityEnd) {
      return this.#deny('no-authority', notAProxyRequest);
    }
    if (this.#connection?.isOf(caller.task) === false) return this.#deny('too-many-connections', tooManyConnections);
    const route = this.#routes.routeOf(caller, this.#facts);
    this.#facts.series = route.series;
    if (route.answer !== undefined) return this.#deny(route.rule, route.answer);
    if (this.#fixed !== undefined && route.key !== this.#fixed.key) return this.#deny('misdirected', misdirected);
    this.#facts.allow = true;
    this.#facts.rule = route.rule;
    if (route.routes !== undefined) return this.#takeRoute(exchange, route, route.routes, head, bytes);
    const endpoints = this.#parts.services.endpointsOf(route.key, caller, '');
    if (endpoints === undefined) return notYetKnown(route.key);
    if (endpoints.protocol === 'tcp') return speaksTcp(route.key);
    this.#sendTo(exchange, caller, endpoints, head, bytes);
    this.#rewrite(exchange, this.#facts.path, route.hostLine, head, bytes);
    return undefined;
  }

  connect(_exchange: Exchange, head: Head, bytes: Buffer): LocalAnswer | Takeover {
    const fixed = this.#fixed;
    if (fixed !== undefined) return this.#deny('misdirected', misdirected);
    this.#note(head, bytes);
    const caller = this.#identify(head, bytes);
    if (caller === undefined) return this.#refuseStranger();
    if (this.#connection?.isOf(caller.task) === false) return this.#deny('too-many-connections', tooManyConnections);
    const route = this.#routes.routeOf(caller, this.#facts);
    this.#facts.series = route.series;
    if (route.answer !== undefined) return this.#deny(route.rule, route.answer);
    this.#facts.allow = true;
    this.#facts.rule = route.rule;
    if (this.#parts.services.endpointsOf(route.key, caller, '') === undefined) return notYetKnown(route.key);
    const { sourceIp } = this.#facts;
    return (stream, early) => this.#parts.onConnect(stream, early, { task: caller.task, key: route.key, sourceIp });
  }

  account(exchange: Exchange): void {
    this.#parts.accessLog.record(exchange, this.#facts);
  }

  refused(answer: LocalAnswer): void {
    this.#parts.accessLog.recordRefused(answer, this.#facts);
  }

  /** As a VirtualService wants it; a wait that it asks for comes before anything else that may be said. */
  #takeRoute(
    exchange: Exchange,
    { caller }: AuthorityRoute,
    routes: ServiceRoutes,
    head: Head,
    bytes: Buffer,
  ): LocalAnswer | undefined {
    this.#routing ??= new Routing(this.#parts.random, head);
    const routing = this.#routing;
    const answer = routing.apply(exchange, routes, this.#facts, head, bytes);
    const { destination, path, authority, mirrors } = routing;
    if (destination === undefined) return answer;
    const endpoints = this.#endpointsOf(caller, destination);
    const unusable = problemOf(endpoints, destination);
    if (endpoints === undefined || unusable !== undefined) return unusable && answerInTime(exchange, unusable);
    this.#sendTo(exchange, caller, endpoints, head, bytes);
    this.#rewrite(exchange, path, hostLine(authority) + (destination.requestEdits?.lines ?? ''), head, bytes);
    if (mirrors.length > 0) this.#mirror(exchange, caller, authority, mirrors);
    return undefined;
  }

  #endpointsOf(caller: LocalWorkload, { service, subset }: Destination): Endpoints | undefined {
    return this.#parts.services.endpointsOf(service, caller, subset);
  }

  #sendTo(exchange: Exchange, caller: LocalWorkload, endpoints: Endpoints, head: Head, bytes: Buffer): void {
    this.#facts.destination = endpoints.spiffeId.slice('spiffe://'.length);
    exchange.target = this.#targets.targetOf(caller, endpoints);
    const { hashKey } = endpoints;
    if (hashKey === undefined) return;
    noteHash(exchange, hashKey, { task: caller.task, random: this.#parts.random }, head, bytes);
  }

  /** Copies differ in their authority, so that a log tells them apart. */
  #mirror(exchange: Exchange, caller: LocalWorkload, authority: string, mirrors: readonly Destination[]): void {
    const additions = `host: ${shadowOf(authority)}\r\n${exchange.additions.slice(hostLine(authority).length)}`;
    exchange.mirrors = mirrors.flatMap(mirror => {
      const endpoints = this.#endpointsOf(caller, mirror);
      const isUsable = endpoints !== undefined && problemOf(endpoints, mirror) === undefined;
      return isUsable ? [{ target: this.#targets.targetOf(caller, endpoints), task: caller.task, additions }] : [];
    });
  }

  #note(head: Head, bytes: Buffer): void {
    const facts = this.#facts;
    facts.method = methodOf(bytes, head);
    facts.host =
      this.#fixed !== undefined && head.authorityStart === head.authorityEnd
        ? this.#fixedHost
        : bytes.toString('latin1', head.authorityStart, head.authorityEnd);
    facts.path = pathOf(head, bytes);
    facts.requestId = head.requestId < 0 ? this.#parts.requestIds.next() : valueText(head, bytes, head.requestId);
    facts.destination = '-';
    facts.series = undefined;
  }

  #identify(head: Head, bytes: Buffer): LocalWorkload | undefined {
    const index = this.#parts.workloads();
    const caller =
      this.#fixed === undefined ? this.#proof.callerOf(index, head, bytes) : index.byTask.get(this.#fixed.task);
    if (caller !== this.#caller) {
      this.#caller = caller;
      this.#facts.source = caller?.spiffeId.slice('spiffe://'.length) ?? '-';
      this.#facts.task = caller?.task ?? '-';
    }
    return caller;
  }

  /**
   * Origin form with the authority as Host (RFC 9112 section 3.2.2), which `lines` begin with; the credential is hop-by-hop and
   * stays here. A request line that is as it should be goes on as it came.
   */
  #rewrite(exchange: Exchange, path: string, lines: string, head: Head, bytes: Buffer): void {
    const { method, path: asked, requestId } = this.#facts;
    if (head.authorityEnd > head.authorityStart || path !== asked || head.minor === 0) {
      const query = bytes.toString('latin1', head.queryStart, head.pathEnd);
      exchange.startLine = `${method} ${path}${query} HTTP/1.1`;
    }
    exchange.additions = lines;
    if (head.requestId < 0) exchange.additions += `x-request-id: ${requestId}\r\n`;
    head.drop(head.host);
  }

  /** Whoever shows no credential that is known. An agent that starts again knows none for a moment, and its tasks call on. */
  #refuseStranger(): LocalAnswer {
    const knowsTasks = this.#parts.workloads().byTask.size > 0;
    return this.#deny('no-credential', knowsTasks ? whoAreYou : tasksUnknown);
  }

  #deny(rule: string, answer: LocalAnswer): LocalAnswer {
    this.#facts.allow = false;
    this.#facts.rule = rule;
    return answer;
  }
}

function problemOf(endpoints: Endpoints | undefined, { service, subset }: Destination): LocalAnswer | undefined {
  if (endpoints === undefined) return notYetKnown(service, subset);
  return endpoints.protocol === 'tcp' ? speaksTcp(service) : undefined;
}

/** How a service is called by its whole name. */
export function hostOfService(key: string): string {
  return `${key}.${meshDomain}`;
}

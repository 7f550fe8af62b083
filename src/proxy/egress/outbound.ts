import type { Buffer } from 'node:buffer';
import type { Cell } from '../../base/cell.ts';
import type { Random } from '../../base/random.ts';
import { serviceKey } from '../../model/ids.ts';
import { meshDomain } from '../../model/service.ts';
import type { Destination } from '../../traffic/route-action.ts';
import { serviceOfHost } from '../../traffic/service-of-host.ts';
import type { CompiledRoutes, ServiceRoutes } from '../../traffic/service-routes.ts';
import { type AccessLog, newFacts } from '../access-log.ts';
import type { Counters, Series } from '../counters.ts';
import { pathOf } from '../decisions.ts';
import type { RequestIds } from '../request-ids.ts';
import { type LocalAnswer, makeAnswer } from '../respond.ts';
import type { Endpoints } from '../upstream/endpoints.ts';
import type { ByteStream } from '../wire/byte-stream.ts';
import type { Exchange, Pipeline, Takeover, Target } from '../wire/exchange.ts';
import { valueText } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';
import { methodOf } from '../wire/methods.ts';
import type { LocalWorkload, WorkloadIndex } from '../workload.ts';
import { callerOf } from './credential.ts';
import { noteHash } from './hash-key.ts';
import { Routing, shadowOf } from './routing.ts';
import type { Services } from './services.ts';

export interface OutboundParts {
  readonly services: Services;
  readonly routes: Cell<CompiledRoutes>;
  readonly random: Random;
  readonly accessLog: AccessLog;
  readonly counters: Counters;
  readonly requestIds: RequestIds;
  readonly workloads: () => WorkloadIndex;
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

/** Endpoints that may be tried for one request while none has taken it. */
const maxAttempts = 3;
/** One connection remembers so many ways at a time: those between which a route draws. */
const maxTargets = 16;

const notAProxyRequest = makeAnswer(
  400,
  'this is an HTTP proxy: expected a whole address as the request target, as in GET http://web.default.mesh/',
  'DPE',
);
const whoAreYou = makeAnswer(
  407,
  "expected the task's own credential: use the address in its HTTP_PROXY variable as it is",
  '-',
  'proxy-authenticate: Basic realm="mesolite"\r\n',
);

const misdirected = makeAnswer(421, 'this connection leads to one service, and the request names another', 'NR');
const callerHasEnded = makeAnswer(503, 'the task that this connection belongs to has ended', 'NR');

/** Where the requests of one task to one authority go; worked out once for as long as the workloads stay as they are. */
interface Route {
  readonly index: WorkloadIndex;
  readonly caller: LocalWorkload;
  readonly authority: string;
  readonly hostLine: string;
  readonly series: Series;
  readonly rule: string;
  readonly answer: LocalAnswer | undefined;
  /** `<name>.<namespace>`; empty when there is an answer instead. */
  readonly key: string;
  /** What VirtualServices say, as they were compiled when this was worked out. */
  readonly compiled: CompiledRoutes;
  readonly routes: ServiceRoutes | undefined;
}

/**
 * The steps of one task's connection to the outbound proxy: who calls → which service → which endpoints. With a fixed route the
 * first two are known, and what a request says of them is not believed.
 */
export class OutboundPipeline implements Pipeline {
  readonly #parts: OutboundParts;
  readonly #facts;
  readonly #fixed: FixedRoute | undefined;
  /** What a request on a fixed route calls by the path alone. */
  readonly #fixedHost: string;
  #proof = '';
  #proven: { readonly index: WorkloadIndex; readonly caller: LocalWorkload } | undefined;
  #route: Route | undefined;
  #targets: ServiceTarget[] = [];
  /** Made for the first request that has routes. */
  #routing: Routing | undefined;

  constructor(parts: OutboundParts, sourceIp: string, fixed?: FixedRoute) {
    this.#parts = parts;
    this.#fixed = fixed;
    this.#fixedHost = fixed === undefined ? '' : hostOfService(fixed.key);
    this.#facts = newFacts('outbound', sourceIp);
  }

  admit(exchange: Exchange, head: Head, bytes: Buffer): LocalAnswer | undefined {
    this.#note(head, bytes);
    const caller = this.#identify(head, bytes);
    if (caller === undefined) {
      return this.#fixed === undefined
        ? this.#deny('no-credential', whoAreYou)
        : this.#deny('no-caller', callerHasEnded);
    }
    if (this.#fixed === undefined && head.authorityStart === head.authorityEnd) {
      return this.#deny('no-authority', notAProxyRequest);
    }
    const route = this.#routeOf(caller, this.#facts.host);
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
    if (caller === undefined) return this.#deny('no-credential', whoAreYou);
    const route = this.#routeOf(caller, this.#facts.host);
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
    { caller }: Route,
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
    if (endpoints === undefined || unusable !== undefined) {
      if (exchange.delayMs === 0) return unusable;
      exchange.abort = unusable;
      return undefined;
    }
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
    exchange.target = this.#targetOf(caller, endpoints);
    const { hashKey } = endpoints;
    if (hashKey === undefined) return;
    noteHash(exchange, hashKey, { task: caller.task, random: this.#parts.random }, head, bytes);
  }

  /** Copies differ in their authority, so that a log tells them apart. */
  #mirror(exchange: Exchange, caller: LocalWorkload, authority: string, mirrors: readonly Destination[]): void {
    const additions = `host: ${shadowOf(authority)}\r\n${exchange.additions.slice(hostLine(authority).length)}`;
    exchange.mirrors = mirrors.flatMap(mirror => {
      const endpoints = this.#endpointsOf(caller, mirror);
      return endpoints === undefined ? [] : [{ target: new ServiceTarget(caller, endpoints), additions }];
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

  /** Which task calls? The proof is looked at again only when it, or the set of tasks, has changed. */
  #identify(head: Head, bytes: Buffer): LocalWorkload | undefined {
    const index = this.#parts.workloads();
    if (this.#fixed !== undefined) {
      if (this.#proven?.index === index) return this.#proven.caller;
      return this.#prove(index, index.byTask.get(this.#fixed.task));
    }
    const proof = head.proxyAuthorization < 0 ? '' : valueText(head, bytes, head.proxyAuthorization);
    if (this.#proven?.index === index && proof === this.#proof) return this.#proven.caller;
    this.#proof = proof;
    return this.#prove(index, callerOf(proof, index.byTask));
  }

  #prove(index: WorkloadIndex, caller: LocalWorkload | undefined): LocalWorkload | undefined {
    this.#proven = caller === undefined ? undefined : { index, caller };
    this.#facts.source = caller?.spiffeId.slice('spiffe://'.length) ?? '-';
    this.#facts.task = caller?.task ?? '-';
    return caller;
  }

  #routeOf(caller: LocalWorkload, authority: string): Route {
    const known = this.#route;
    const index = this.#parts.workloads();
    const compiled = this.#parts.routes.value;
    if (
      known?.index === index &&
      known.caller === caller &&
      known.authority === authority &&
      known.compiled === compiled
    ) {
      return known;
    }
    const service = serviceOfHost(authority, caller.identity.namespace);
    const key = service === undefined ? '' : serviceKey(service);
    const declared = caller.upstreams.has(key);
    const series = this.#parts.counters.series('outbound', declared ? key : '-', this.#facts.source);
    const routes = declared ? compiled.routesOf(key, caller.identity) : undefined;
    // one literal: objects that are spread together have a shape each, and each look at one of them is a search
    this.#route = {
      index,
      caller,
      authority,
      hostLine: hostLine(authority),
      series,
      rule: service === undefined ? 'not-in-mesh' : declared ? 'declared-upstream' : 'not-declared',
      answer: service === undefined ? notInMesh(authority) : declared ? undefined : notDeclared(key),
      key: declared ? key : '',
      compiled,
      routes,
    };
    return this.#route;
  }

  #targetOf(caller: LocalWorkload, endpoints: Endpoints): ServiceTarget {
    for (const target of this.#targets) if (target.caller === caller && target.endpoints === endpoints) return target;
    if (this.#targets.length >= maxTargets) this.#targets = [];
    const target = new ServiceTarget(caller, endpoints);
    this.#targets.push(target);
    return target;
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

  #deny(rule: string, answer: LocalAnswer): LocalAnswer {
    this.#facts.allow = false;
    this.#facts.rule = rule;
    return answer;
  }
}

/** A service as one task reaches it. */
export class ServiceTarget implements Target {
  readonly maxAttempts = maxAttempts;
  readonly caller: LocalWorkload;
  readonly endpoints: Endpoints;

  constructor(caller: LocalWorkload, endpoints: Endpoints) {
    this.caller = caller;
    this.endpoints = endpoints;
  }

  choose: Target['choose'] = (exchange, avoid) => this.endpoints.choose(this.caller, exchange, avoid);

  beginRetry(): boolean {
    return this.endpoints.beginRetry();
  }

  endRetry(): void {
    this.endpoints.endRetry();
  }
}

function problemOf(endpoints: Endpoints | undefined, { service, subset }: Destination): LocalAnswer | undefined {
  if (endpoints === undefined) return notYetKnown(service, subset);
  return endpoints.protocol === 'tcp' ? speaksTcp(service) : undefined;
}

function hostLine(authority: string): string {
  return `host: ${authority}\r\n`;
}

/** How a service is called by its whole name. */
export function hostOfService(key: string): string {
  return `${key}.${meshDomain}`;
}

function speaksTcp(key: string): LocalAnswer {
  return makeAnswer(
    400,
    `${key} speaks plain TCP: reach it by CONNECT, or by a localPort of the job's upstreams`,
    'NR',
  );
}

function notInMesh(authority: string): LocalAnswer {
  const expected = `<service> or <service>.<namespace>.${meshDomain}`;
  return makeAnswer(403, `${authority} is not a host of the mesh: expected ${expected}`, 'NR');
}

function notDeclared(key: string): LocalAnswer {
  return makeAnswer(404, `${key} is not among the upstreams that this task's job declares`, 'NR');
}

function notYetKnown(key: string, subset = ''): LocalAnswer {
  const what = subset === '' ? key : `subset ${subset} of ${key}`;
  return makeAnswer(503, `nothing is known of ${what} yet: no healthy upstream`, 'UH');
}

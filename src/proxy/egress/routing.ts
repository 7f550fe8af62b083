import { Buffer } from 'node:buffer';
import type { Random } from '../../base/random.ts';
import { allowLines, allowsOrigin, type CorsPolicy } from '../../traffic/cors.ts';
import type { HeaderEdits } from '../../traffic/header-edits.ts';
import { redirectLocation, rewritePath } from '../../traffic/rewrite-path.ts';
import {
  drawDestination,
  type Fault,
  type ForwardAction,
  isHit,
  type Mirror,
  type RouteAction,
  type WeightedDestination,
} from '../../traffic/route-action.ts';
import type { RouteRequest } from '../../traffic/route-match.ts';
import { type ChosenRoute, chooseRoute, type ServiceRoutes } from '../../traffic/service-routes.ts';
import type { RequestFacts } from '../access-log.ts';
import { answerWith, type LocalAnswer, makeAnswer } from '../respond.ts';
import type { Exchange } from '../wire/exchange.ts';
import { dropNamed, fieldOf } from '../wire/fields.ts';
import type { Head } from '../wire/head.ts';

const word = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const originWord = word('origin');
const requestMethodWord = word('access-control-request-method');
const corsWords = [
  word('access-control-allow-origin'),
  word('access-control-allow-credentials'),
  word('access-control-expose-headers'),
];

const noRoute = makeAnswer(404, 'no route of the VirtualService takes this request', 'NR');
const noPath = makeAnswer(500, 'the route rewrites the path to what is none', 'NR');
const noBytes = Buffer.alloc(0);

/** A request as routes see it; the object is used for request after request of a connection. */
class RequestView implements RouteRequest {
  method = '';
  authority = '';
  port = 80;
  path = '';
  query = '';
  #head: Head;
  #bytes: Buffer = noBytes;

  constructor(head: Head) {
    this.#head = head;
  }

  look(head: Head, bytes: Buffer, facts: RequestFacts): void {
    this.#head = head;
    this.#bytes = bytes;
    this.method = facts.method;
    this.path = facts.path;
    this.query = bytes.toString('latin1', head.queryStart, head.pathEnd);
    if (this.authority === facts.host) return;
    this.authority = facts.host;
    this.port = portOf(facts.host);
  }

  /** So that a connection that rests keeps no buffer. */
  lookAway(): void {
    this.#bytes = noBytes;
  }

  header(name: Uint8Array): string | undefined {
    return fieldOf(this.#head, this.#bytes, name);
  }

  drop(name: Uint8Array): void {
    dropNamed(this.#head, this.#bytes, name);
  }

  isPreflight(): boolean {
    return this.method === 'OPTIONS' && this.header(requestMethodWord) !== undefined;
  }
}

/** Applies the routes of a service to the requests of one connection; what was decided stays here until the next request. */
export class Routing {
  readonly #random: Random;
  readonly #view: RequestView;
  /** Where the request goes. */
  destination: WeightedDestination | undefined;
  mirrors: readonly Mirror[] = [];
  path = '';
  authority = '';

  constructor(random: Random, head: Head) {
    this.#random = random;
    this.#view = new RequestView(head);
  }

  /** An answer to give at once; otherwise `destination` is set, or `exchange.abort` for an answer that has to wait. */
  apply(
    exchange: Exchange,
    routes: ServiceRoutes,
    facts: RequestFacts,
    head: Head,
    bytes: Buffer,
  ): LocalAnswer | undefined {
    const view = this.#view;
    view.look(head, bytes, facts);
    const answer = this.#decide(exchange, routes, facts);
    view.lookAway();
    return answer && answerInTime(exchange, answer);
  }

  /** A page may read of an injected fault too: in Istio's newer filter chains faults come before CORS, and it may not. */
  #decide(exchange: Exchange, routes: ServiceRoutes, facts: RequestFacts): LocalAnswer | undefined {
    this.destination = undefined;
    const chosen = chooseRoute(routes, this.#view);
    if (chosen === undefined) {
      facts.allow = false;
      facts.rule = 'no-route';
      return noRoute;
    }
    const { action } = chosen.route;
    facts.rule = chosen.route.label;
    const preflight = action.cors === undefined ? undefined : this.#share(exchange, action.cors);
    if (preflight !== undefined) return preflight;
    if (action.kind !== 'forward') return answerOf(action, exchange, this.#view);
    const fault = action.fault === undefined ? undefined : this.#inject(exchange, action.fault);
    return fault ?? this.#forward(exchange, action, chosen);
  }

  /** Envoy's fault filter: waits, and gives up on the request. */
  #inject(exchange: Exchange, fault: Fault): LocalAnswer | undefined {
    if (fault.delayMs > 0 && isHit(fault.delayPercent, this.#random)) {
      exchange.delayMs = fault.delayMs;
      exchange.note = 'DI';
    }
    const aborts = fault.abortStatus > 0 && isHit(fault.abortPercent, this.#random);
    return aborts ? makeAnswer(fault.abortStatus, 'fault filter abort', 'FI') : undefined;
  }

  /** Envoy's CORS filter: answers a preflight request, and lets the page read any other answer. */
  #share(exchange: Exchange, cors: CorsPolicy): LocalAnswer | undefined {
    const view = this.#view;
    const origin = view.header(originWord);
    if (origin === undefined) return undefined;
    const isAllowed = allowsOrigin(cors, origin);
    if (view.isPreflight()) {
      if (!isAllowed && cors.forwardsUnmatched) return undefined;
      return makeAnswer(200, '', '-', isAllowed ? allowLines(origin, cors.preflightLines) : '');
    }
    if (!isAllowed) return undefined;
    exchange.responseDrops = corsWords;
    exchange.responseAdditions += allowLines(origin, cors.responseLines);
    return undefined;
  }

  #forward(exchange: Exchange, action: ForwardAction, { uri }: ChosenRoute): LocalAnswer | undefined {
    const view = this.#view;
    const path = action.rewrite === undefined ? view.path : rewritePath(action.rewrite, uri, view.path);
    if (path === undefined) return noPath;
    const destination = drawDestination(action, this.#random);
    if (destination === undefined) return noRoute;
    this.destination = destination;
    this.path = path;
    this.authority = action.authority === '' ? view.authority : action.authority;
    this.mirrors = action.mirrors.length === 0 ? action.mirrors : this.#drawMirrors(action.mirrors);
    exchange.tries = action.tries;
    const { requestEdits, responseEdits } = destination;
    if (requestEdits !== undefined) for (const name of requestEdits.drops) view.drop(name);
    if (responseEdits !== undefined) editResponse(exchange, responseEdits);
    return undefined;
  }

  #drawMirrors(mirrors: readonly Mirror[]): readonly Mirror[] {
    return mirrors.filter(({ percent }) => isHit(percent, this.#random));
  }
}

function editResponse(exchange: Exchange, { drops, lines }: HeaderEdits): void {
  exchange.responseDrops = exchange.responseDrops.length === 0 ? drops : [...exchange.responseDrops, ...drops];
  exchange.responseAdditions += lines;
}

/** The answer to give: with what the route says of answers, and at once, unless the request is to wait first. */
export function answerInTime(exchange: Exchange, answer: LocalAnswer): LocalAnswer | undefined {
  if (exchange.delayMs === 0) return answerWith(answer, exchange.responseAdditions);
  exchange.abort = answer;
  return undefined;
}

/** The answer of a route that sends nothing on. */
function answerOf(
  action: Exclude<RouteAction, ForwardAction>,
  exchange: Exchange,
  { authority, path, query }: RouteRequest,
): LocalAnswer {
  if (action.responseEdits !== undefined) editResponse(exchange, action.responseEdits);
  if (action.kind === 'respond') return makeAnswer(action.status, action.body, '-');
  const location = redirectLocation(action, authority, path, query);
  return makeAnswer(action.status, '', '-', `location: ${location}\r\n`);
}

/** The port in an authority, which has passed the parser; http's own where it has none. */
function portOf(authority: string): number {
  const colon = authority.lastIndexOf(':');
  return colon < 0 ? 80 : Number(authority.slice(colon + 1));
}

/** Envoy's name for a copy: `reviews-shadow`, `reviews-shadow:9080`. */
export function shadowOf(authority: string): string {
  const colon = authority.lastIndexOf(':');
  return colon < 0 ? `${authority}-shadow` : `${authority.slice(0, colon)}-shadow${authority.slice(colon)}`;
}

import { Buffer } from 'node:buffer';
import type { Random } from '../base/random.ts';
import { serviceKey } from '../model/ids.ts';
import type { DestinationRef, HttpRoute } from '../model/virtual-service.ts';
import { type CorsPolicy, compileCors } from './cors.ts';
import { compileHeaderEdits, type HeaderEdits } from './header-edits.ts';
import { compileRetries, type RetryPolicy } from './retry.ts';
import { serviceOfHost } from './service-of-host.ts';
import type { Regex, RegexCompiler } from './text-test.ts';

/** A service, or the part of it that a DestinationRule calls a subset. */
export interface Destination {
  /** `<name>.<namespace>` */
  readonly service: string;
  /** Empty for all of it. */
  readonly subset: string;
}

/** One way of several, with what is done to the heads that go it. */
export interface WeightedDestination extends Destination {
  readonly weight: number;
  readonly requestEdits: HeaderEdits | undefined;
  readonly responseEdits: HeaderEdits | undefined;
}

export interface Fault {
  /** 0 for none. */
  readonly delayMs: number;
  readonly delayPercent: number;
  readonly abortStatus: number;
  readonly abortPercent: number;
}

export interface Mirror extends Destination {
  readonly percent: number;
}

/** How long and how often a request may be tried. */
export interface TryPolicy {
  /** From the end of the request to the end of the response; 0 for no bound. */
  readonly timeoutMs: number;
  readonly retry: RetryPolicy | undefined;
}

/** What becomes of the path: the part that the route matched, the whole of it, or every match of an expression is replaced. */
export interface PathRewrite {
  readonly text: string;
  readonly regex: Regex | undefined;
}

export interface ForwardAction {
  readonly kind: 'forward';
  readonly destinations: readonly WeightedDestination[];
  readonly totalWeight: number;
  readonly rewrite: PathRewrite | undefined;
  /** Instead of the authority that came; empty to keep it. */
  readonly authority: string;
  readonly tries: TryPolicy;
  readonly fault: Fault | undefined;
  readonly mirrors: readonly Mirror[];
  readonly cors: CorsPolicy | undefined;
}

export interface RedirectAction {
  readonly kind: 'redirect';
  readonly status: number;
  /** Empty to keep what came. */
  readonly path: string;
  readonly authority: string;
  readonly scheme: 'http' | 'https';
  /** 0: the scheme's own. */
  readonly port: number;
  readonly keepsPort: boolean;
  readonly responseEdits: HeaderEdits | undefined;
  readonly cors: CorsPolicy | undefined;
}

export interface RespondAction {
  readonly kind: 'respond';
  readonly status: number;
  readonly body: Uint8Array;
  readonly responseEdits: HeaderEdits | undefined;
  readonly cors: CorsPolicy | undefined;
}

/** What a route does with a request. */
export type RouteAction = ForwardAction | RedirectAction | RespondAction;

/** The document has been checked (`route-check.ts`); `namespace` is its own, where short names are looked up. */
export function compileAction(http: HttpRoute, namespace: string, regex: RegexCompiler): RouteAction {
  const cors = http.corsPolicy === undefined ? undefined : compileCors(http.corsPolicy, regex);
  const responseEdits = compileHeaderEdits(http.headers?.response);
  if (http.redirect !== undefined) {
    const { uri = '', authority = '', scheme = 'http', port = 0, derivePort, redirectCode } = http.redirect;
    const keepsPort = port === 0 && derivePort !== 'FROM_PROTOCOL_DEFAULT' && authority === '' && scheme === 'http';
    return {
      kind: 'redirect',
      status: redirectCode,
      path: uri,
      authority,
      scheme,
      port,
      keepsPort: keepsPort || derivePort === 'FROM_REQUEST_PORT',
      responseEdits,
      cors,
    };
  }
  if (http.directResponse !== undefined) {
    const { status, body } = http.directResponse;
    const bytes = body?.bytes === undefined ? Buffer.from(body?.string ?? '') : Buffer.from(body.bytes, 'base64');
    return { kind: 'respond', status, body: bytes, responseEdits, cors };
  }
  return compileForward(http, namespace, regex, cors);
}

function compileForward(
  http: HttpRoute,
  namespace: string,
  regex: RegexCompiler,
  cors: CorsPolicy | undefined,
): ForwardAction {
  const { route = [], rewrite, headers } = http;
  const destinations = route.map(({ destination, weight, headers: own }) => ({
    ...destinationOf(destination, namespace),
    weight: weight ?? (route.length === 1 ? 100 : 0),
    requestEdits: compileHeaderEdits(own?.request, headers?.request),
    responseEdits: compileHeaderEdits(own?.response, headers?.response),
  }));
  return {
    kind: 'forward',
    destinations: destinations.filter(({ weight }) => weight > 0),
    totalWeight: destinations.reduce((sum, { weight }) => sum + weight, 0),
    rewrite: compileRewrite(rewrite, regex),
    authority: rewrite?.authority ?? '',
    // as in Istio: a fault is injected in front of what would bound or repeat the request
    tries:
      http.fault === undefined
        ? { timeoutMs: http.timeout, retry: compileRetries(http.retries) }
        : { timeoutMs: 0, retry: undefined },
    fault: compileFault(http.fault),
    mirrors: compileMirrors(http, namespace),
    cors,
  };
}

function compileRewrite(rewrite: HttpRoute['rewrite'], regex: RegexCompiler): PathRewrite | undefined {
  if (rewrite?.uri !== undefined) return { text: rewrite.uri, regex: undefined };
  const expression = rewrite?.uriRegexRewrite;
  return expression === undefined ? undefined : { text: expression.rewrite, regex: regex(expression.match) };
}

/** As in Istio, a fault of which no percentage is given befalls nobody. */
function compileFault(fault: HttpRoute['fault']): Fault | undefined {
  if (fault === undefined) return undefined;
  const { delay, abort } = fault;
  return {
    delayMs: delay?.fixedDelay ?? 0,
    delayPercent: delay?.percentage?.value ?? 0,
    abortStatus: abort?.httpStatus ?? 0,
    abortPercent: abort?.percentage?.value ?? 0,
  };
}

function compileMirrors({ mirror, mirrorPercentage, mirrors = [] }: HttpRoute, namespace: string): Mirror[] {
  const single = mirror === undefined ? [] : [{ destination: mirror, percentage: mirrorPercentage }];
  return [...single, ...mirrors]
    .map(({ destination, percentage }) => ({
      ...destinationOf(destination, namespace),
      percent: percentage?.value ?? 100,
    }))
    .filter(({ percent }) => percent > 0);
}

function destinationOf({ host, subset = '' }: DestinationRef, namespace: string): Destination {
  const service = serviceOfHost(host, namespace);
  return { service: service === undefined ? host : serviceKey(service), subset };
}

/** Draws one of the destinations by weight. */
export function drawDestination(action: ForwardAction, random: Random): WeightedDestination | undefined {
  const { destinations } = action;
  if (destinations.length === 1) return destinations[0];
  let left = random() * action.totalWeight;
  for (const destination of destinations) {
    left -= destination.weight;
    if (left < 0) return destination;
  }
  return destinations.at(-1);
}

/** Does it befall this one? */
export function isHit(percent: number, random: Random): boolean {
  return percent >= 100 || (percent > 0 && random() * 100 < percent);
}

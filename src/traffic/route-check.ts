import { isMesoliteError } from '../base/errors.ts';
import type { Findings, PolicyOf } from '../model/document.ts';
import type {
  CorsPolicySpec,
  DestinationRef,
  HeaderOperations,
  HttpMatch,
  HttpRoute,
  StringMatch,
} from '../model/virtual-service.ts';
import { headerProblem } from './header-edits.ts';
import { unknownConditions } from './retry.ts';
import { isPath } from './rewrite-path.ts';
import { serviceOfHost } from './service-of-host.ts';
import type { RegexCompiler } from './text-test.ts';

type VirtualService = PolicyOf<'VirtualService'>;

const expectedHost =
  'expected a service: <service>, <service>.<namespace>.mesh or <service>.<namespace>.svc.cluster.local';
const authorityPattern = /^[A-Za-z0-9.-]{1,253}(:\d{1,5})?$/;

/** Checks what the shape of a VirtualService does not say. */
export function checkVirtualService(document: VirtualService, regex: RegexCompiler): Findings {
  return { errors: findErrors(document, regex), warnings: document.spec.http.flatMap(warningsOf(document)) };
}

/** The errors of `checkVirtualService` alone. */
export function findErrors({ metadata, spec }: VirtualService, regex: RegexCompiler): string[] {
  const { namespace } = metadata;
  return [
    ...spec.hosts.flatMap((host, i) => hostErrors(host, namespace, `spec.hosts[${i}]`)),
    ...spec.http.flatMap((http, i) => routeErrors(http, namespace, `spec.http[${i}]`, regex)),
  ];
}

function hostErrors(host: string, namespace: string, path: string): string[] {
  return serviceOfHost(host, namespace) === undefined || host.includes(':')
    ? [`${path}: ${expectedHost}, got ${JSON.stringify(host.slice(0, 80))}`]
    : [];
}

function routeErrors(http: HttpRoute, namespace: string, path: string, regex: RegexCompiler): string[] {
  const { route = [], mirrors = [] } = http;
  const destinations: [string, DestinationRef | undefined][] = [
    ...route.map(({ destination }, i): [string, DestinationRef] => [`${path}.route[${i}].destination`, destination]),
    [`${path}.mirror`, http.mirror],
    ...mirrors.map(({ destination }, i): [string, DestinationRef] => [
      `${path}.mirrors[${i}].destination`,
      destination,
    ]),
  ];
  return [
    ...(http.match ?? []).flatMap((match, i) => matchErrors(match, `${path}.match[${i}]`, regex)),
    ...destinations.flatMap(([place, to]) => (to === undefined ? [] : hostErrors(to.host, namespace, `${place}.host`))),
    ...weightErrors(http, path),
    ...partErrors(http, path),
    ...rewriteErrors(http, path, regex),
    ...unknownConditions(http.retries?.retryOn ?? '').map(
      word => `${path}.retries.retryOn: ${JSON.stringify(word)} is no condition that is carried out`,
    ),
    ...headerErrors(http.headers, `${path}.headers`),
    ...route.flatMap(({ headers }, i) => headerErrors(headers, `${path}.route[${i}].headers`)),
    ...(http.corsPolicy === undefined ? [] : corsErrors(http.corsPolicy, `${path}.corsPolicy`, regex)),
  ];
}

function matchErrors(match: HttpMatch, path: string, regex: RegexCompiler): string[] {
  const { headers = {}, withoutHeaders = {}, queryParams = {} } = match;
  const texts: [string, StringMatch | undefined][] = [
    ['uri', match.uri],
    ['scheme', match.scheme],
    ['method', match.method],
    ['authority', match.authority],
    ...named('headers', headers),
    ...named('withoutHeaders', withoutHeaders),
    ...named('queryParams', queryParams),
  ];
  return [
    ...texts.flatMap(([name, text]) => regexErrors(text?.regex, `${path}.${name}.regex`, regex)),
    ...[...Object.keys(headers), ...Object.keys(withoutHeaders)].flatMap(name =>
      name.startsWith(':')
        ? [`${path}: headers: ${name} is a pseudo header: use uri, method, authority or scheme`]
        : [],
    ),
  ];
}

function named(field: string, matches: Readonly<Record<string, StringMatch>>): [string, StringMatch][] {
  return Object.entries(matches).map(([name, match]) => [`${field}.${name}`, match]);
}

function regexErrors(pattern: string | undefined, path: string, regex: RegexCompiler): string[] {
  if (pattern === undefined) return [];
  try {
    regex(pattern);
    return [];
  } catch (error) {
    if (isMesoliteError(error)) return [`${path}: ${error.message}`];
    throw error;
  }
}

function weightErrors({ route = [] }: HttpRoute, path: string): string[] {
  const total = route.reduce((sum, { weight }) => sum + (weight ?? 0), 0);
  const isWithout = total === 0 && (route.length > 1 || route[0]?.weight === 0);
  return isWithout ? [`${path}.route: no destination has a weight: give each its share`] : [];
}

/** What only makes sense for a request that goes on. */
function partErrors(http: HttpRoute, path: string): string[] {
  if (http.route !== undefined) return [];
  const { rewrite, retries, fault, mirror, mirrors, timeout } = http;
  const parts = { rewrite, retries, fault, mirror, mirrors, timeout: timeout === 0 ? undefined : timeout };
  const action = http.redirect === undefined ? 'directResponse' : 'redirect';
  return [
    ...Object.entries(parts).flatMap(([name, part]) =>
      part === undefined ? [] : [`${path}.${name}: a ${action} answers by itself: only a route can have it`],
    ),
    ...(http.headers?.request === undefined ? [] : [`${path}.headers.request: a ${action} sends no request on`]),
  ];
}

function rewriteErrors({ rewrite, redirect }: HttpRoute, path: string, regex: RegexCompiler): string[] {
  const paths: [string, string | undefined][] = [
    [`${path}.rewrite.uri`, rewrite?.uri],
    [`${path}.redirect.uri`, redirect?.uri],
  ];
  const authorities: [string, string | undefined][] = [
    [`${path}.rewrite.authority`, rewrite?.authority],
    [`${path}.redirect.authority`, redirect?.authority],
  ];
  const expression = rewrite?.uriRegexRewrite;
  return [
    ...paths.flatMap(([place, uri]) =>
      uri === undefined || isPath(uri) ? [] : [`${place}: expected a path that begins with "/", got ${quote(uri)}`],
    ),
    ...authorities.flatMap(([place, name]) =>
      name === undefined || authorityPattern.test(name) ? [] : [`${place}: expected a host, got ${quote(name)}`],
    ),
    ...(rewrite?.uri?.includes('?')
      ? [`${path}.rewrite.uri: a query cannot be written: only the path is replaced`]
      : []),
    ...regexErrors(expression?.match, `${path}.rewrite.uriRegexRewrite.match`, regex),
    ...(/(^|[^\\])(\\\\)*\\([^\d\\]|$)/.test(expression?.rewrite ?? '')
      ? [`${path}.rewrite.uriRegexRewrite.rewrite: behind a "\\" expected the number of a group or another "\\"`]
      : []),
  ];
}

interface HeaderParts {
  readonly request?: HeaderOperations | undefined;
  readonly response?: HeaderOperations | undefined;
}

function headerErrors(headers: HeaderParts | undefined, path: string): string[] {
  return [
    ...operationErrors(headers?.request, `${path}.request`),
    ...operationErrors(headers?.response, `${path}.response`),
  ];
}

function operationErrors(operations: HeaderOperations | undefined, path: string): string[] {
  const { set = {}, add = {}, remove = [] } = operations ?? {};
  const changes: [string, string, string?][] = [
    ...Object.entries(set).map(([name, value]): [string, string, string] => ['set', name, value]),
    ...Object.entries(add).map(([name, value]): [string, string, string] => ['add', name, value]),
    ...remove.map((name): [string, string] => ['remove', name]),
  ];
  return changes.flatMap(([operation, name, value]) => {
    const problem = headerProblem(name, value);
    return problem === undefined ? [] : [`${path}.${operation}: ${quote(name)} ${problem}`];
  });
}

function corsErrors(cors: CorsPolicySpec, path: string, regex: RegexCompiler): string[] {
  const { allowMethods = [], allowHeaders = [], exposeHeaders = [] } = cors;
  return [
    ...cors.allowOrigins.flatMap((origin, i) => regexErrors(origin.regex, `${path}.allowOrigins[${i}].regex`, regex)),
    ...[...allowMethods, ...allowHeaders, ...exposeHeaders].flatMap(word =>
      /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(word) ? [] : [`${path}: ${quote(word)} is no name of a method or a header`],
    ),
  ];
}

/** What is legal, and hardly means what its author thinks. */
function warningsOf({ spec }: VirtualService): (http: HttpRoute, i: number) => string[] {
  return (http, i) => {
    const path = `spec.http[${i}]`;
    const { fault, route = [], mirror, mirrors = [] } = http;
    const destinations = [...route, ...mirrors].map(({ destination }) => destination).concat(mirror ?? []);
    const takesAll = (http.match ?? []).length === 0 || http.match?.some(match => isEverything(match));
    return [
      ...(takesAll && i < spec.http.length - 1
        ? [`${path}: takes every request, so that the routes behind it are never reached`]
        : []),
      ...(fault?.delay !== undefined && fault.delay.percentage === undefined
        ? [`${path}.fault.delay.percentage: not given, so no request is delayed`]
        : []),
      ...(fault?.abort !== undefined && fault.abort.percentage === undefined
        ? [`${path}.fault.abort.percentage: not given, so no request is aborted`]
        : []),
      ...(fault !== undefined && (http.timeout > 0 || http.retries !== undefined)
        ? [`${path}.fault: timeout and retries of a route with a fault are not applied, as in Istio`]
        : []),
      ...(destinations.some(({ port }) => port !== undefined)
        ? [`${path}: destination.port is not looked at: a service has exactly one port`]
        : []),
    ];
  };
}

function isEverything({ name: _, gateways: __, ignoreUriCase: ___, ...match }: HttpMatch): boolean {
  return Object.values(match).every(part => part === undefined);
}

function quote(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

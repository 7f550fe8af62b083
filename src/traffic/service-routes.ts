import { MesoliteError } from '../base/errors.ts';
import { describeDocument, type PolicyOf } from '../model/document.ts';
import { serviceKey } from '../model/ids.ts';
import type { WorkloadIdentity } from '../model/policy.ts';
import type { HttpRoute } from '../model/virtual-service.ts';
import { compileAction, type Destination, type RouteAction } from './route-action.ts';
import { findErrors } from './route-check.ts';
import { type Condition, compileCondition, concerns, holds, type RouteRequest } from './route-match.ts';
import { serviceOfHost } from './service-of-host.ts';
import type { RegexCompiler, TextTest } from './text-test.ts';

export type VirtualService = PolicyOf<'VirtualService'>;

/** One http route, ready to be asked. */
export interface Route {
  /** `<namespace>/<name>#<index>`, or the route's own name behind the `#`. */
  readonly label: string;
  /** One of them must hold; a route without any takes every request. */
  readonly conditions: readonly Condition[];
  readonly action: RouteAction;
  /** What is chosen by each condition, or at 0 without any: made once. */
  readonly choices: readonly ChosenRoute[];
}

/** The routes of one service for one caller, in order. */
export interface ServiceRoutes {
  readonly routes: readonly Route[];
  /** Every service that a call may go to, as `<name>.<namespace>`. */
  readonly services: readonly string[];
}

/** One revision of all VirtualServices: a value that is swapped whole. */
export interface CompiledRoutes {
  /** What holds for a caller's requests to `<name>.<namespace>`; the same object each time. Undefined when no VirtualService speaks of it. */
  routesOf(service: string, caller: WorkloadIdentity): ServiceRoutes | undefined;
}

/** What was chosen, and what of the path held, which a rewrite goes by. */
export interface ChosenRoute {
  readonly route: Route;
  readonly uri: TextTest | undefined;
}

interface HostRoutes {
  readonly namespace: string;
  /** Is it for callers of its own namespace alone? */
  readonly isPrivate: boolean;
  readonly routes: readonly Route[];
}

export const noRoutes: CompiledRoutes = { routesOf: () => undefined };

/** Compiles all VirtualServices at once; throws INVALID_INPUT that names document and path of everything that is wrong. */
export function compileRoutes(documents: readonly VirtualService[], regex: RegexCompiler): CompiledRoutes {
  const problems = documents.flatMap(document =>
    findErrors(document, regex).map(error => `${describeDocument(document)}: ${error}`),
  );
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.slice(0, 5).join('; '));
  if (documents.length === 0) return noRoutes;
  const byService = indexByService(documents, regex);
  const kept = new WeakMap<WorkloadIdentity, Map<string, ServiceRoutes>>();
  return {
    routesOf(service, caller) {
      const known = kept.get(caller)?.get(service);
      if (known !== undefined) return known;
      const hosts = byService.get(service)?.filter(host => !host.isPrivate || host.namespace === caller.namespace);
      const host = preferred(hosts ?? [], service, caller);
      if (host === undefined) return undefined;
      const made = routesFor(host.routes, caller);
      const ofCaller = kept.get(caller) ?? new Map<string, ServiceRoutes>();
      kept.set(caller, ofCaller.set(service, made));
      return made;
    },
  };
}

/** By `<name>.<namespace>`; those of one service by namespace and name. */
function indexByService(documents: readonly VirtualService[], regex: RegexCompiler): Map<string, HostRoutes[]> {
  const byService = new Map<string, HostRoutes[]>();
  const nameOf = ({ metadata }: VirtualService) => `${metadata.namespace}/${metadata.name}`;
  const sorted = documents.map(document => [nameOf(document), document] as const).sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [name, { metadata, spec }] of sorted) {
    const { namespace } = metadata;
    const routes = spec.http.map((http, i) => compileRoute(http, `${name}#${http.name ?? i}`, namespace, regex));
    const host = { namespace, isPrivate: spec.exportTo?.every(to => to === '.') === true, routes };
    for (const key of new Set(servicesNamed(spec.hosts, namespace))) {
      byService.set(key, [...(byService.get(key) ?? []), host]);
    }
  }
  return byService;
}

/** The services that a document's hosts mean, as `<name>.<namespace>`; what is no host of the mesh is left out. */
export function servicesNamed(hosts: readonly string[], namespace: string): string[] {
  return hosts.flatMap(host => {
    const service = serviceOfHost(host, namespace);
    return service === undefined ? [] : [serviceKey(service)];
  });
}

function compileRoute(http: HttpRoute, label: string, namespace: string, regex: RegexCompiler): Route {
  const conditions = (http.match ?? []).map(match => compileCondition(match, regex));
  return withChoices({ label, conditions, action: compileAction(http, namespace, regex) });
}

function withChoices(parts: Omit<Route, 'choices'>): Route {
  const choices: ChosenRoute[] = [];
  const route = { ...parts, choices };
  for (const condition of route.conditions) choices.push({ route, uri: condition.uri });
  if (choices.length === 0) choices.push({ route, uri: undefined });
  return route;
}

/** Of several for one service: the caller's namespace speaks first, then the service's own, then the others by name. */
function preferred(hosts: readonly HostRoutes[], service: string, caller: WorkloadIdentity): HostRoutes | undefined {
  const ofNamespace = (namespace: string) => hosts.find(host => host.namespace === namespace);
  return ofNamespace(caller.namespace) ?? ofNamespace(service.slice(service.indexOf('.') + 1)) ?? hosts[0];
}

/** Without what can never hold for this caller. */
function routesFor(all: readonly Route[], caller: WorkloadIdentity): ServiceRoutes {
  const routes = all.flatMap(route => {
    const conditions = route.conditions.filter(condition => concerns(condition, caller));
    if (route.conditions.length > 0 && conditions.length === 0) return [];
    return [conditions.length === route.conditions.length ? route : withChoices({ ...route, conditions })];
  });
  const services = routes.flatMap(({ action }) => destinationsOf(action).map(({ service }) => service));
  return { routes, services: [...new Set(services)] };
}

function destinationsOf(action: RouteAction): readonly Destination[] {
  return action.kind === 'forward' ? [...action.destinations, ...action.mirrors] : [];
}

/** The first route that takes the request; undefined when none does. */
export function chooseRoute({ routes }: ServiceRoutes, request: RouteRequest): ChosenRoute | undefined {
  for (const { conditions, choices } of routes) {
    if (conditions.length === 0) return choices[0];
    for (let i = 0; i < conditions.length; i++) {
      const condition = conditions[i];
      if (condition !== undefined && holds(condition, request)) return choices[i];
    }
  }
  return undefined;
}

import type { Cell } from '../../base/cell.ts';
import { serviceKey } from '../../model/ids.ts';
import { serviceOfHost } from '../../traffic/service-of-host.ts';
import type { CompiledRoutes, ServiceRoutes } from '../../traffic/service-routes.ts';
import type { RequestFacts } from '../access-log.ts';
import type { Counters, Series } from '../counters.ts';
import type { LocalAnswer } from '../respond.ts';
import type { LocalWorkload, WorkloadIndex } from '../workload.ts';
import { notDeclared, notInMesh } from './answers.ts';

export interface AuthorityRouteParts {
  readonly routes: Cell<CompiledRoutes>;
  readonly counters: Counters;
  readonly workloads: () => WorkloadIndex;
}

/** Where the requests of one task to one authority go; worked out once for as long as the workloads stay as they are. */
export interface AuthorityRoute {
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

/** Finds where requests of one connection go, of which one is mostly like the one before it. */
export class AuthorityRoutes {
  readonly #parts: AuthorityRouteParts;
  #latest: AuthorityRoute | undefined;

  constructor(parts: AuthorityRouteParts) {
    this.#parts = parts;
  }

  routeOf(caller: LocalWorkload, { host: authority, source }: RequestFacts): AuthorityRoute {
    const known = this.#latest;
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
    const series = this.#parts.counters.series('outbound', declared ? key : '-', source);
    const routes = declared ? compiled.routesOf(key, caller.identity) : undefined;
    // one literal: objects that are spread together have a shape each, and each look at one of them is a search
    this.#latest = {
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
    return this.#latest;
  }
}

export function hostLine(authority: string): string {
  return `host: ${authority}\r\n`;
}

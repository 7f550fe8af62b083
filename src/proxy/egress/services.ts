import type { Cell } from '../../base/cell.ts';
import type { ServiceDocument } from '../../model/service.ts';
import type { Destinations } from '../../traffic/destinations.ts';
import { Endpoints, type EndpointsParts } from '../upstream/endpoints.ts';
import type { LocalWorkload } from '../workload.ts';

export interface ServicesParts extends EndpointsParts {
  /** The latest document of each service that tasks here call, by `<name>.<namespace>`. */
  readonly documents: Cell<ReadonlyMap<string, ServiceDocument>>;
  readonly destinations: Cell<Destinations>;
}

/** The endpoints of a service, or of a subset, as the callers of one namespace use them. */
interface Cluster {
  readonly key: string;
  readonly callerNamespace: string;
  readonly subset: string;
  readonly endpoints: Endpoints;
}

/** The services that tasks of this node call, each with the endpoints of its latest document and the settings that hold for it. */
export class Services {
  readonly #parts: ServicesParts;
  readonly #clusters = new Map<string, Cluster>();
  /** The one asked for last, which mostly is asked for next. */
  #latest: Cluster | undefined;

  constructor(parts: ServicesParts) {
    this.#parts = parts;
  }

  /** Follows swaps of documents and settings; the returned function stops that. */
  follow(): () => void {
    const stops = [this.#parts.documents.watch(this.#onSwap), this.#parts.destinations.watch(this.#onSwap)];
    return () => {
      for (const stop of stops) stop();
    };
  }

  /**
   * The endpoints of `<name>.<namespace>` as `caller` reaches them, of one subset of a DestinationRule or of all ('');
   * undefined while no document of it is there, or no such subset.
   */
  endpointsOf(key: string, caller: LocalWorkload, subset: string): Endpoints | undefined {
    const { namespace: callerNamespace } = caller.identity;
    const latest = this.#latest;
    if (latest?.key === key && latest.callerNamespace === callerNamespace && latest.subset === subset) {
      return latest.endpoints;
    }
    const name = subset === '' ? `${key} ${callerNamespace}` : `${key} ${callerNamespace} ${subset}`;
    const known = this.#clusters.get(name);
    this.#latest = known;
    if (known !== undefined) return known.endpoints;
    const document = this.#parts.documents.value.get(key);
    const settings = document && this.#parts.destinations.value.settingsFor(document, callerNamespace, subset);
    if (document === undefined || settings === undefined) return undefined;
    const endpoints = new Endpoints(this.#parts, settings, document);
    this.#clusters.set(name, { key, callerNamespace, subset, endpoints });
    return endpoints;
  }

  /** Forgets callers that are no longer there, and what only callers of their namespace used. */
  keepOnly(callers: ReadonlyMap<string, LocalWorkload>): void {
    const namespaces = new Set([...callers.values()].map(({ identity }) => identity.namespace));
    for (const [name, { endpoints, callerNamespace }] of this.#clusters) {
      if (namespaces.has(callerNamespace)) endpoints.keepOnly(callers);
      else {
        this.#clusters.delete(name);
        endpoints.close();
      }
    }
    this.#latest = undefined;
  }

  close(): void {
    this.#latest = undefined;
    for (const { endpoints } of this.#clusters.values()) endpoints.close();
    this.#clusters.clear();
  }

  readonly #onSwap = (): void => {
    this.#latest = undefined;
    const { documents, destinations } = this.#parts;
    for (const [name, { key, callerNamespace, subset, endpoints }] of this.#clusters) {
      const document = documents.value.get(key);
      const settings = document && destinations.value.settingsFor(document, callerNamespace, subset);
      if (document !== undefined && settings !== undefined) endpoints.update(document, settings);
      else {
        this.#clusters.delete(name);
        endpoints.close();
      }
    }
  };
}

import type { Cell } from '../../base/cell.ts';
import type { ServiceDocument } from '../../model/service.ts';
import { Endpoints, type EndpointsParts, type EndpointsSettings } from '../upstream/endpoints.ts';
import type { LocalWorkload } from '../workload.ts';

/** The services that tasks of this node call: each with the endpoints of its latest document. */
export class Services {
  readonly #documents: Cell<ReadonlyMap<string, ServiceDocument>>;
  readonly #parts: EndpointsParts;
  readonly #settings: EndpointsSettings;
  readonly #endpoints = new Map<string, Endpoints>();

  constructor(
    documents: Cell<ReadonlyMap<string, ServiceDocument>>,
    parts: EndpointsParts,
    settings: EndpointsSettings,
  ) {
    this.#documents = documents;
    this.#parts = parts;
    this.#settings = settings;
  }

  /** Follows swaps of the documents; the returned function stops that. */
  follow(): () => void {
    return this.#documents.watch(documents => {
      for (const [key, endpoints] of this.#endpoints) {
        const document = documents.get(key);
        if (document !== undefined) endpoints.update(document);
        else {
          this.#endpoints.delete(key);
          endpoints.close();
        }
      }
    });
  }

  /**
   * The endpoints of `<name>.<namespace>` as `caller` reaches them, of one subset of a DestinationRule or of all ('');
   * undefined while no document of it is there, or no such subset.
   */
  endpointsOf(key: string, _caller: LocalWorkload, _subset: string): Endpoints | undefined {
    const known = this.#endpoints.get(key);
    if (known !== undefined) return known;
    const document = this.#documents.value.get(key);
    if (document === undefined) return undefined;
    const endpoints = new Endpoints(this.#parts, this.#settings, document);
    this.#endpoints.set(key, endpoints);
    return endpoints;
  }

  /** Forgets callers that are no longer there. */
  keepOnly(callers: ReadonlyMap<string, LocalWorkload>): void {
    for (const endpoints of this.#endpoints.values()) endpoints.keepOnly(callers);
  }

  close(): void {
    for (const endpoints of this.#endpoints.values()) endpoints.close();
    this.#endpoints.clear();
  }
}

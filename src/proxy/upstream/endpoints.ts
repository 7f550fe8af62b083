import { isDeepStrictEqual } from 'node:util';
import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import type { Endpoint, ServiceDocument } from '../../model/service.ts';
import { type Balancer, makeBalancer } from '../../traffic/balance.ts';
import { mayRetry, newUsage } from '../../traffic/breaker.ts';
import type { Candidate } from '../../traffic/candidate.ts';
import type { ClusterSettings, HashKey } from '../../traffic/cluster.ts';
import {
  type HostHealth,
  isEjected,
  isPanicking,
  newHostHealth,
  newOutlierState,
  type OutlierState,
  recordOutcome,
  sweep,
} from '../../traffic/outlier.ts';
import type { Deadlines } from '../deadlines.ts';
import type { Exchange } from '../wire/exchange.ts';
import type { LocalWorkload } from '../workload.ts';
import type { Bounds, HostLoad, Pool } from './pool.ts';

export interface EndpointsParts {
  readonly deadlines: Deadlines;
  readonly random: Random;
  readonly log: Log;
  /** Makes the pool of one caller to one endpoint. */
  readonly makePool: (to: PoolAddress) => Pool;
}

export interface PoolAddress {
  readonly caller: LocalWorkload;
  readonly endpoint: Endpoint;
  readonly protocol: ServiceDocument['protocol'];
  readonly spiffeId: string;
  readonly load: HostLoad;
  readonly bounds: Bounds;
  readonly onOutcome: (status: number) => void;
}

/** One endpoint with what is known of it; it outlives the documents that list it. */
class Host implements Candidate, HostLoad {
  active = 0;
  available = true;
  endpoint: Endpoint;
  readonly key: string;
  readonly joinedAt: number;
  readonly health: HostHealth = newHostHealth();
  /** By task: each caller shows its own certificate. */
  readonly pools = new Map<string, { readonly caller: LocalWorkload; readonly pool: Pool }>();

  constructor(key: string, endpoint: Endpoint, joinedAt: number) {
    this.key = key;
    this.endpoint = endpoint;
    this.joinedAt = joinedAt;
  }

  get weight(): number {
    return this.endpoint.weight;
  }

  closePools(): void {
    for (const { pool } of this.pools.values()) pool.close();
    this.pools.clear();
  }
}

/**
 * The endpoints of one service, or of one subset of it, as the callers of one namespace use them (what Envoy calls a cluster): those of
 * the latest document, by the latest settings, with their load and health.
 */
export class Endpoints {
  readonly #parts: EndpointsParts;
  readonly #bounds: Bounds;
  #settings: ClusterSettings;
  #document: ServiceDocument;
  #hosts: readonly Host[] = [];
  #byKey: ReadonlyMap<string, Host> = new Map();
  #outlier: OutlierState;
  /** Made when it is needed, so that many changes in a row cost one hash table. */
  #balancer: Balancer | undefined;

  constructor(parts: EndpointsParts, settings: ClusterSettings, document: ServiceDocument) {
    const { breaker, connections } = settings;
    this.#parts = parts;
    this.#settings = settings;
    this.#document = document;
    this.#bounds = { breaker, connections, used: newUsage() };
    this.#outlier = newOutlierState([], parts.deadlines.now);
    this.#adopt();
  }

  get protocol(): ServiceDocument['protocol'] {
    return this.#document.protocol;
  }

  get spiffeId(): string {
    return this.#document.spiffeId;
  }

  /** What of a request decides its host; undefined when nothing does. */
  get hashKey(): HashKey | undefined {
    return this.#settings.hashKey;
  }

  /** Goes over to a newer document or newer settings; an endpoint that stays keeps its connections, load and health. */
  update(document: ServiceDocument, settings: ClusterSettings): void {
    const sameSettings = settings === this.#settings || isDeepStrictEqual(settings, this.#settings);
    if (document === this.#document && sameSettings) return;
    const { spiffeId, protocol } = this.#document;
    const moved = document.spiffeId !== spiffeId || document.protocol !== protocol;
    const before = this.#byKey;
    this.#document = document;
    this.#settings = settings;
    this.#bounds.breaker = settings.breaker;
    this.#bounds.connections = settings.connections;
    this.#adopt();
    for (const [key, host] of before) if (moved || this.#byKey.get(key) !== host) host.closePools();
  }

  /** The pool of `caller` to the endpoint that `exchange` should go to, none of those that were `tried`; undefined when no other is healthy. */
  choose(caller: LocalWorkload, exchange: Exchange, tried: readonly Pool[]): Pool | undefined {
    const { now } = this.#parts.deadlines;
    if (sweep(this.#outlier, now, this.#settings.outlier)) this.#judge();
    this.#balancer ??= makeBalancer(this.#settings.balancing, this.#hosts, this.#parts.random);
    const at =
      tried.length === 0
        ? this.#balancer.pick(now, exchange.hash)
        : this.#pickOther(this.#balancer, caller, exchange.hash, tried);
    return this.#poolAt(at, caller);
  }

  /** Takes a place among the retries that may be under way, to be given back with `endRetry`; false when there is none. */
  beginRetry(): boolean {
    const { used, breaker } = this.#bounds;
    if (!mayRetry(used, breaker)) return false;
    used.retries++;
    return true;
  }

  endRetry(): void {
    this.#bounds.used.retries--;
  }

  /** Closes what callers have open that are no longer there. */
  keepOnly(callers: ReadonlyMap<string, LocalWorkload>): void {
    for (const host of this.#hosts) {
      for (const [task, { caller, pool }] of host.pools) {
        if (callers.get(task)?.tls === caller.tls) continue;
        host.pools.delete(task);
        pool.close();
      }
    }
  }

  /** For good: a request that is still to be tried again finds no endpoint. */
  close(): void {
    for (const host of this.#hosts) host.closePools();
    this.#hosts = [];
    this.#balancer = undefined;
  }

  /** As if the endpoints that were tried were not there: a key finds the one that it would have without them. */
  #pickOther(balancer: Balancer, { task }: LocalWorkload, hash: number, tried: readonly Pool[]): number {
    const passed = this.#hosts.filter(({ available, pools }) => {
      const pool = pools.get(task)?.pool;
      return available && pool !== undefined && tried.includes(pool);
    });
    for (const host of passed) host.available = false;
    const at = balancer.pick(this.#parts.deadlines.now, hash);
    for (const host of passed) host.available = true;
    return at;
  }

  #adopt(): void {
    const { now } = this.#parts.deadlines;
    const byKey = new Map<string, Host>();
    for (const endpoint of this.#document.endpoints) {
      if (!hasLabels(this.#document.labelSets[endpoint.labelSet], this.#settings.labels)) continue;
      const key = `${endpoint.address} ${endpoint.port} ${endpoint.serverName}`;
      const host = this.#byKey.get(key) ?? new Host(key, endpoint, now);
      host.endpoint = endpoint;
      byKey.set(key, host);
    }
    this.#byKey = byKey;
    // in one order on all nodes, so that they fill the same hash table
    this.#hosts = [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    this.#balancer = undefined;
    // else documents that come often would never let a sweep be due
    const { sweptAt } = this.#outlier;
    this.#outlier = newOutlierState(
      this.#hosts.map(host => host.health),
      sweptAt,
    );
    this.#judge();
  }

  /** Works out anew who may be chosen. */
  #judge(): void {
    const all = isPanicking(this.#outlier, this.#settings.outlier);
    for (const host of this.#hosts) host.available = all || !isEjected(host.health);
  }

  #poolAt(at: number, caller: LocalWorkload): Pool | undefined {
    const host = this.#hosts[at];
    if (host === undefined) return undefined;
    const known = host.pools.get(caller.task);
    if (known !== undefined && known.caller.tls === caller.tls) return known.pool;
    known?.pool.close();
    const pool = this.#parts.makePool({
      caller,
      endpoint: host.endpoint,
      protocol: this.protocol,
      spiffeId: this.spiffeId,
      load: host,
      bounds: this.#bounds,
      onOutcome: status => this.#record(host, status),
    });
    host.pools.set(caller.task, { caller, pool });
    return pool;
  }

  #record(host: Host, status: number): void {
    const { now } = this.#parts.deadlines;
    if (this.#byKey.get(host.key) !== host) return;
    if (!recordOutcome(this.#outlier, host.health, status, now, this.#settings.outlier)) return;
    this.#judge();
    this.#parts.log.warn('an endpoint failed too often in a row and is left out for a while', {
      service: `${this.#document.name}.${this.#document.namespace}`,
      task: host.endpoint.task,
      node: host.endpoint.node,
    });
  }
}

type Labels = Readonly<Record<string, string>>;

function hasLabels(labels: Labels | undefined, wanted: Labels): boolean {
  return Object.entries(wanted).every(([key, value]) => labels?.[key] === value);
}

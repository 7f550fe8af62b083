import type { Log } from '../../base/log.ts';
import type { Random } from '../../base/random.ts';
import type { Endpoint, ServiceDocument } from '../../model/service.ts';
import { type Balancing, type Candidate, pickLeastRequest, pickRoundRobin } from '../../traffic/balance.ts';
import {
  type HostHealth,
  isEjected,
  newHostHealth,
  newOutlierState,
  type OutlierSettings,
  type OutlierState,
  recordOutcome,
  sweep,
} from '../../traffic/outlier.ts';
import type { Deadlines } from '../deadlines.ts';
import type { Exchange } from '../wire/exchange.ts';
import type { LocalWorkload } from '../workload.ts';
import { type HostLoad, noAnswer, type Pool } from './pool.ts';

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
  readonly spiffeId: string;
  readonly load: HostLoad;
  readonly onOutcome: (status: number) => void;
}

export interface EndpointsSettings {
  readonly balancing: Balancing;
  readonly outlier: OutlierSettings;
}

/** One endpoint with what is known of it; it outlives the documents that list it. */
class Host implements Candidate, HostLoad {
  active = 0;
  endpoint: Endpoint;
  readonly health: HostHealth = newHostHealth();
  /** By task: each caller shows its own certificate. */
  readonly pools = new Map<string, { readonly caller: LocalWorkload; readonly pool: Pool }>();

  constructor(endpoint: Endpoint) {
    this.endpoint = endpoint;
  }

  get weight(): number {
    return this.endpoint.weight;
  }

  get available(): boolean {
    return !isEjected(this.health);
  }

  closePools(): void {
    for (const { pool } of this.pools.values()) pool.close();
    this.pools.clear();
  }
}

/** The endpoints of one service as its latest document lists them, with their load and health. */
export class Endpoints {
  readonly #parts: EndpointsParts;
  readonly #settings: EndpointsSettings;
  #document: ServiceDocument;
  #hosts: readonly Host[] = [];
  #byKey: ReadonlyMap<string, Host> = new Map();
  #outlier: OutlierState = newOutlierState([], 0);
  #equalWeights = true;
  #turn = 0;

  constructor(parts: EndpointsParts, settings: EndpointsSettings, document: ServiceDocument) {
    this.#parts = parts;
    this.#settings = settings;
    this.#document = document;
    this.#adopt(document);
  }

  get spiffeId(): string {
    return this.#document.spiffeId;
  }

  /** Goes over to a newer document; an endpoint that stays keeps its connections, load and health. */
  update(document: ServiceDocument): void {
    if (document === this.#document) return;
    const moved = document.spiffeId !== this.#document.spiffeId;
    const before = this.#byKey;
    this.#document = document;
    this.#adopt(document);
    for (const [key, host] of before) if (moved || this.#byKey.get(key) !== host) host.closePools();
  }

  /** The pool of `caller` to the endpoint to ask next, another than `avoid`; undefined when none is healthy. */
  choose(caller: LocalWorkload, _exchange: Exchange, avoid: Pool | undefined): Pool | undefined {
    sweep(this.#outlier, this.#parts.deadlines.now, this.#settings.outlier);
    let at = this.#pick();
    if (avoid !== undefined && this.#poolAt(at, caller) === avoid) at = this.#neighbour(at);
    const pool = this.#poolAt(at, caller);
    return pool === avoid ? undefined : pool;
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

  close(): void {
    for (const host of this.#hosts) host.closePools();
  }

  #adopt(document: ServiceDocument): void {
    const byKey = new Map<string, Host>();
    for (const endpoint of document.endpoints) {
      const key = `${endpoint.address} ${endpoint.port} ${endpoint.serverName}`;
      const host = this.#byKey.get(key) ?? new Host(endpoint);
      host.endpoint = endpoint;
      byKey.set(key, host);
    }
    this.#byKey = byKey;
    this.#hosts = [...byKey.values()];
    this.#equalWeights = this.#hosts.every(host => host.weight === this.#hosts[0]?.weight);
    this.#outlier = newOutlierState(
      this.#hosts.map(host => host.health),
      this.#parts.deadlines.now,
    );
  }

  #pick(): number {
    const { random } = this.#parts;
    if (this.#settings.balancing === 'LEAST_REQUEST') return pickLeastRequest(this.#hosts, this.#equalWeights, random);
    return pickRoundRobin(this.#hosts, this.#equalWeights, this.#turn++, random);
  }

  /** The next available host after the one at `at`; the same again when there is no other. */
  #neighbour(at: number): number {
    const next = pickRoundRobin(this.#hosts, true, at + 1, this.#parts.random);
    return next < 0 ? at : next;
  }

  #poolAt(at: number, caller: LocalWorkload): Pool | undefined {
    const host = this.#hosts[at];
    if (host === undefined) return undefined;
    const known = host.pools.get(caller.task);
    if (known !== undefined && known.caller.tls === caller.tls) return known.pool;
    known?.pool.close();
    const onOutcome = (status: number) => this.#record(host, status === noAnswer || status >= 500);
    const { endpoint } = host;
    const pool = this.#parts.makePool({ caller, endpoint, spiffeId: this.spiffeId, load: host, onOutcome });
    host.pools.set(caller.task, { caller, pool });
    return pool;
  }

  #record(host: Host, failed: boolean): void {
    if (failed && !this.#hosts.includes(host)) return;
    const { now } = this.#parts.deadlines;
    if (!recordOutcome(this.#outlier, host.health, failed, now, this.#settings.outlier)) return;
    this.#parts.log.warn('an endpoint failed too often in a row and is left out for a while', {
      service: `${this.#document.name}.${this.#document.namespace}`,
      task: host.endpoint.task,
      node: host.endpoint.node,
    });
  }
}

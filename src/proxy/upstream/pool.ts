import type { BreakerSettings, Usage } from '../../traffic/breaker.ts';
import type { ConnectionSettings } from '../../traffic/cluster.ts';
import { localOrigin } from '../../traffic/outlier.ts';
import { Shares } from '../admission.ts';
import { type Deadlines, never } from '../deadlines.ts';
import type { Unavailable } from '../respond.ts';
import { type Connector, Upstream, type UpstreamOwner, type UpstreamUser } from './connection.ts';

/**
 * All upstream connections of the proxy together, of which no task may have more than half. A pool that needs one more may take it from
 * the idle ones of another; where its task has its share, of another of the same task.
 */
export class ConnectionBudget {
  readonly #limit: number;
  readonly #shares: Shares;
  readonly #pools = new Set<Pool>();
  #open = 0;

  constructor(limit: number) {
    this.#limit = limit;
    this.#shares = new Shares(Math.ceil(limit / 2));
  }

  get open(): number {
    return this.#open;
  }

  /** Takes one connection out of the budget, at the cost of an idle one if need be; false when all that `caller` may have are busy. */
  take(caller: string | undefined): boolean {
    if (caller !== undefined && !this.#shares.hasRoom(caller)) this.#dropIdle(caller);
    else if (this.#open >= this.#limit) this.#dropIdle(undefined);
    if (this.#open >= this.#limit || (caller !== undefined && !this.#shares.take(caller))) return false;
    this.#open++;
    return true;
  }

  give(caller: string | undefined): void {
    this.#open--;
    if (caller !== undefined) this.#shares.give(caller);
  }

  /** Closes every idle connection now, and each busy one when its request is done. */
  close(): void {
    for (const pool of this.#pools) pool.close();
  }

  /** Closes each connection, busy or not, whose other side may stay no longer. */
  recheck(): void {
    for (const pool of [...this.#pools]) pool.recheck();
  }

  enter(pool: Pool): void {
    this.#pools.add(pool);
  }

  leave(pool: Pool): void {
    this.#pools.delete(pool);
  }

  /** One of `caller`, or of anybody. */
  #dropIdle(caller: string | undefined): void {
    for (const pool of this.#pools) if ((caller === undefined || pool.caller === caller) && pool.dropIdle()) return;
  }
}

/** How busy one host is: requests that it has or that wait for it. */
export interface HostLoad {
  active: number;
}

/** What all pools of a cluster share; its settings may be swapped at any time. */
export interface Bounds {
  breaker: BreakerSettings;
  connections: ConnectionSettings;
  readonly used: Usage;
}

export interface PoolParts {
  readonly deadlines: Deadlines;
  readonly budget: ConnectionBudget;
  readonly connector: Connector;
  readonly load: HostLoad;
  readonly bounds: Bounds;
  /** The task whose calls these are; absent for the application of a task, which others call. */
  readonly caller?: string;
  /** So many connections one source may use at a time; more of its requests wait. Absent: as many as there are. */
  readonly ofOneSource?: number;
  /** Hears how the host answered: a status, or `noAnswer`. */
  readonly onOutcome?: (status: number) => void;
}

/** What is reported in place of a status when no connection came about, or it broke, or nothing came in time. */
export const noAnswer = localOrigin;
/** What is reported of a TCP connection that came about: for Envoy's outlier detection, too, that is a success. */
export const connected = 200;

/** Connections to one host with one identity; the one used last is used next, so that the others can age and go. */
export class Pool implements UpstreamOwner {
  readonly #parts: PoolParts;
  readonly #idle: Upstream[] = [];
  readonly #waiting: UpstreamUser[] = [];
  readonly #all = new Set<Upstream>();
  #closed = false;

  constructor(parts: PoolParts) {
    this.#parts = parts;
  }

  get caller(): string | undefined {
    return this.#parts.caller;
  }

  /** How long a tunnel to this host may be silent, where that is set. */
  get tunnelIdleMs(): number | undefined {
    return this.#parts.bounds.connections.tunnelIdleMs;
  }

  /**
   * Hands a connection to `user`, now or later; or says at once why there is none. `fresh` refuses one that has been
   * used before: the way out when a used one turned out to be dead.
   */
  acquire(user: UpstreamUser, fresh: boolean): Unavailable | undefined {
    const { load, bounds } = this.#parts;
    const { breaker, used } = bounds;
    if (used.requests >= breaker.maxRequests) return 'overflow';
    if (!this.#hasItsShare(user)) {
      const idle = this.#takeIdle(fresh);
      if (idle !== undefined) {
        load.active++;
        this.#use(idle, user);
        return undefined;
      }
      // one that rests, but was used before, must not be in the way of a fresh one
      if (this.#mayOpen() || (fresh && this.dropIdle() && this.#mayOpen())) {
        load.active++;
        this.#open(user, fresh);
        return undefined;
      }
    }
    if (this.#all.size === 0 || used.pending >= breaker.maxPending) return 'overflow';
    load.active++;
    used.pending++;
    this.#waiting.push(user);
    return undefined;
  }

  /** Takes a connection back from its user; one that cannot be used again is closed. */
  release(upstream: Upstream, reusable: boolean): void {
    this.#done();
    upstream.user = undefined;
    upstream.served++;
    const { maxRequests, maxAgeMs } = this.#parts.bounds.connections;
    const isSpent = upstream.served >= maxRequests || this.#parts.deadlines.now >= upstream.openedAt + maxAgeMs;
    if (reusable && !upstream.retired && !isSpent) this.#offer(upstream);
    else upstream.destroy();
  }

  /** A user that still waits gives up. */
  cancel(user: UpstreamUser): void {
    const at = this.#waiting.indexOf(user);
    if (at >= 0) {
      this.#waiting.splice(at, 1);
      this.#parts.bounds.used.pending--;
      this.#parts.load.active--;
      return;
    }
    for (const upstream of this.#all) if (upstream.user === user) upstream.user = undefined;
    this.#done();
  }

  /** `status` is that of a response, or `noAnswer`. */
  report(status: number): void {
    this.#parts.onOutcome?.(status);
  }

  /** Closes the connection that has been idle longest; false when there is none. */
  dropIdle(): boolean {
    const oldest = this.#idle.shift();
    if (oldest === undefined) return false;
    this.#forget(oldest);
    oldest.destroy();
    return true;
  }

  /** Idle connections go at once, busy ones when their requests are done. */
  close(): void {
    this.#closed = true;
    while (this.dropIdle());
    this.#parts.connector.close();
  }

  recheck(): void {
    this.#parts.connector.recheck();
  }

  onConnectionReady(upstream: Upstream): void {
    if (upstream.user === undefined) this.#offer(upstream);
    else upstream.user.onReady(upstream);
  }

  onConnectionClosed(upstream: Upstream, user: UpstreamUser | undefined, wasReady: boolean): void {
    if (user !== undefined) this.#done();
    if (!wasReady) this.report(noAnswer);
    this.onConnectionSpent(upstream);
    this.#forget(upstream);
    this.#openForWaiting();
  }

  onConnectionSpent(upstream: Upstream): void {
    const at = this.#idle.indexOf(upstream);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** A connection is free: for who waits longest, or to rest. */
  #offer(upstream: Upstream): void {
    const next = this.#nextWaiting();
    if (next !== undefined) this.#use(upstream, next);
    else if (this.#closed) upstream.destroy();
    else {
      const { idleMs, maxAgeMs } = this.#parts.bounds.connections;
      upstream.deadlineAt = Math.min(this.#parts.deadlines.now + idleMs, upstream.openedAt + maxAgeMs);
      this.#idle.push(upstream);
    }
  }

  /** The one used last, unless it is too old, or was used at all where a fresh one is asked for. */
  #takeIdle(fresh: boolean): Upstream | undefined {
    if (fresh && this.#idle.at(-1)?.mayBeStale === true) return undefined;
    const idle = this.#idle.pop();
    if (idle === undefined || this.#parts.deadlines.now < idle.deadlineAt) return idle;
    idle.destroy();
    return undefined;
  }

  #use(upstream: Upstream, user: UpstreamUser): void {
    this.#parts.bounds.used.requests++;
    upstream.user = user;
    upstream.deadlineAt = never;
    user.onReady(upstream);
  }

  /** A request that had a connection, or had one opened for it, is over. */
  #done(): void {
    this.#parts.load.active--;
    this.#parts.bounds.used.requests--;
  }

  /** Takes out who waits longest of those that may have one more connection. */
  #nextWaiting(): UpstreamUser | undefined {
    for (let at = 0; at < this.#waiting.length; at++) {
      const next = this.#waiting[at];
      if (next === undefined || this.#hasItsShare(next)) continue;
      this.#waiting.splice(at, 1);
      this.#parts.bounds.used.pending--;
      return next;
    }
    return undefined;
  }

  /** Has the source of `user` as many connections as one may have? Counted only while enough are in use for that. */
  #hasItsShare({ source = '' }: UpstreamUser): boolean {
    const { ofOneSource } = this.#parts;
    if (ofOneSource === undefined || source === '' || this.#all.size - this.#idle.length < ofOneSource) return false;
    let held = 0;
    for (const { user } of this.#all) if (user?.source === source) held++;
    return held >= ofOneSource;
  }

  /** As in Envoy, the breaker leaves each host one connection. */
  #mayOpen(): boolean {
    const { bounds, budget } = this.#parts;
    const mayConnect = bounds.used.connections < bounds.breaker.maxConnections || this.#all.size === 0;
    return mayConnect && budget.take(this.caller);
  }

  #open(user: UpstreamUser, fresh: boolean): void {
    const { connector, deadlines, budget, bounds } = this.#parts;
    const upstream = new Upstream(this, deadlines);
    upstream.user = user;
    bounds.used.requests++;
    bounds.used.connections++;
    this.#all.add(upstream);
    budget.enter(this);
    upstream.open(connector, bounds.connections.connectTimeoutMs, fresh);
  }

  #openForWaiting(): void {
    if (this.#waiting.length === 0) return;
    if (this.#mayOpen()) {
      const next = this.#nextWaiting();
      if (next === undefined) this.#parts.budget.give(this.caller);
      else this.#open(next, false);
      return;
    }
    // with no connection left nothing would ever wake those who wait
    while (this.#all.size === 0 && this.#waiting.length > 0) {
      this.#parts.load.active--;
      this.#nextWaiting()?.onUnavailable('overflow');
    }
  }

  /** Once for each connection: it no longer counts. */
  #forget(upstream: Upstream): void {
    if (!this.#all.delete(upstream)) return;
    this.#parts.budget.give(this.caller);
    this.#parts.bounds.used.connections--;
    if (this.#all.size === 0) this.#parts.budget.leave(this);
  }
}

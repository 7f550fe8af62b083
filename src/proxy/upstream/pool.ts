import { type Deadlines, never } from '../deadlines.ts';
import type { Unavailable } from '../respond.ts';
import { type Connector, Upstream, type UpstreamOwner, type UpstreamUser } from './connection.ts';

/** All upstream connections of the proxy together; a pool that needs one more may take it from the idle ones of another. */
export class ConnectionBudget {
  readonly #limit: number;
  readonly #pools = new Set<Pool>();
  #open = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get open(): number {
    return this.#open;
  }

  /** Takes one connection out of the budget, at the cost of an idle one if need be; false when all are busy. */
  take(): boolean {
    if (this.#open >= this.#limit) for (const pool of this.#pools) if (pool.dropIdle()) break;
    if (this.#open >= this.#limit) return false;
    this.#open++;
    return true;
  }

  give(): void {
    this.#open--;
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
}

/** How busy one host is: requests that it has or that wait for it. */
export interface HostLoad {
  active: number;
}

export interface PoolParts {
  readonly deadlines: Deadlines;
  readonly budget: ConnectionBudget;
  readonly connector: Connector;
  readonly load: HostLoad;
  /** Hears how the host answered: a status, or `noAnswer`. */
  readonly onOutcome?: (status: number) => void;
}

export interface PoolSettings {
  readonly maxConnections: number;
  /** Requests that may wait for a connection. */
  readonly maxPending: number;
  readonly connectTimeoutMs: number;
  readonly idleMs: number;
}

/** What is reported in place of a status when no connection came about, or it broke, or nothing came in time. */
export const noAnswer = 0;

/** Connections to one host with one identity; the one used last is used next, so that the others can age and go. */
export class Pool implements UpstreamOwner {
  readonly #parts: PoolParts;
  readonly #settings: PoolSettings;
  readonly #idle: Upstream[] = [];
  readonly #waiting: UpstreamUser[] = [];
  readonly #all = new Set<Upstream>();
  #closed = false;

  constructor(parts: PoolParts, settings: PoolSettings) {
    this.#parts = parts;
    this.#settings = settings;
  }

  /**
   * Hands a connection to `user`, now or later; or says at once why there is none. `fresh` refuses one that has been
   * used before: the way out when a used one turned out to be dead.
   */
  acquire(user: UpstreamUser, fresh: boolean): Unavailable | undefined {
    const idle = fresh ? undefined : this.#idle.pop();
    if (idle !== undefined) {
      this.#parts.load.active++;
      idle.user = user;
      idle.deadlineAt = never;
      user.onReady(idle);
      return undefined;
    }
    if (this.#all.size < this.#settings.maxConnections && this.#parts.budget.take()) {
      this.#parts.load.active++;
      this.#open(user);
      return undefined;
    }
    if (this.#all.size === 0 || this.#waiting.length >= this.#settings.maxPending) return 'overflow';
    this.#parts.load.active++;
    this.#waiting.push(user);
    return undefined;
  }

  /** Takes a connection back from its user; one that cannot be used again is closed. */
  release(upstream: Upstream, reusable: boolean): void {
    this.#parts.load.active--;
    upstream.user = undefined;
    if (!reusable || upstream.retired) {
      upstream.destroy();
      return;
    }
    upstream.served++;
    this.#offer(upstream);
  }

  /** A user that still waits gives up. */
  cancel(user: UpstreamUser): void {
    const at = this.#waiting.indexOf(user);
    if (at >= 0) this.#waiting.splice(at, 1);
    for (const upstream of this.#all) if (upstream.user === user) upstream.user = undefined;
    this.#parts.load.active--;
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
    if (user !== undefined) this.#parts.load.active--;
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
    const next = this.#waiting.shift();
    if (next !== undefined) {
      upstream.user = next;
      next.onReady(upstream);
    } else if (this.#closed) upstream.destroy();
    else {
      upstream.deadlineAt = this.#parts.deadlines.now + this.#settings.idleMs;
      this.#idle.push(upstream);
    }
  }

  #open(user: UpstreamUser): void {
    const { connector, deadlines, budget } = this.#parts;
    const upstream = new Upstream(this, deadlines);
    upstream.user = user;
    this.#all.add(upstream);
    budget.enter(this);
    upstream.open(connector, this.#settings.connectTimeoutMs);
  }

  #openForWaiting(): void {
    if (this.#waiting.length === 0 || !this.#parts.budget.take()) return;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#open(next);
  }

  /** Once for each connection: it no longer counts. */
  #forget(upstream: Upstream): void {
    if (!this.#all.delete(upstream)) return;
    this.#parts.budget.give();
    if (this.#all.size === 0) this.#parts.budget.leave(this);
  }
}

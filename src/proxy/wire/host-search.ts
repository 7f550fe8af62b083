import type { Unavailable } from '../respond.ts';
import type { UpstreamUser } from '../upstream/connection.ts';
import type { Pool } from '../upstream/pool.ts';
import type { Exchange } from './exchange.ts';

const none: readonly Pool[] = [];

/** Where a request is, and where it has been: for one request after another of a connection. */
export class HostSearch {
  /** The host that has the request, or lets it wait for a connection. */
  #pool: Pool | undefined;
  #tried = none;
  #attempts = 0;

  get pool(): Pool | undefined {
    return this.#pool;
  }

  /** Another request, or one for which every host is as good as any other again. */
  begin(): void {
    this.#tried = none;
    this.#attempts = 0;
  }

  /** While nothing has been sent: asks one host after another, as many as its target allows; or says why there is no connection. */
  search(user: UpstreamUser, exchange: Exchange, fresh: boolean, reason: Unavailable): Unavailable | undefined {
    const { target } = exchange;
    let why = reason;
    while (target !== undefined && this.mayGoOn(exchange)) {
      this.#attempts++;
      const pool = target.choose(exchange, this.#tried);
      if (pool === undefined) break;
      const refused = this.#ask(pool, user, fresh);
      if (refused === undefined) return undefined;
      why = refused;
    }
    return why;
  }

  /** May the search ask one more? */
  mayGoOn({ target }: Exchange): boolean {
    return target !== undefined && this.#attempts < target.maxAttempts;
  }

  /** Asks one host: another one than before where there is another. */
  take(user: UpstreamUser, exchange: Exchange, fresh: boolean): Unavailable | undefined {
    const { target } = exchange;
    const other = target?.choose(exchange, this.#tried);
    const pool = other ?? (this.#tried.length > 0 ? target?.choose(exchange, none) : undefined);
    return pool === undefined ? 'no-healthy-upstream' : this.#ask(pool, user, fresh);
  }

  /** The request is to be taken elsewhere. */
  leave(): Pool | undefined {
    const pool = this.done();
    if (pool !== undefined) this.#tried = [...this.#tried, pool];
    return pool;
  }

  /** The request is over. */
  done(): Pool | undefined {
    const pool = this.#pool;
    this.#pool = undefined;
    return pool;
  }

  #ask(pool: Pool, user: UpstreamUser, fresh: boolean): Unavailable | undefined {
    this.#pool = pool;
    const refused = pool.acquire(user, fresh);
    if (refused !== undefined) this.leave();
    return refused;
  }
}

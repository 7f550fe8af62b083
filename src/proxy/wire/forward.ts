import { Buffer } from 'node:buffer';
import type { Unavailable } from '../respond.ts';
import { answerUnavailable, badUpstream, type LocalAnswer, streamIdle, streamIdleRequest } from '../respond.ts';
import type { Upstream, UpstreamUser } from '../upstream/connection.ts';
import { noAnswer, type Pool } from '../upstream/pool.ts';
import { method } from './methods.ts';
import { type ResponseClient, type ResponseParts, ResponseRelay } from './response-relay.ts';

/** The client's side of an exchange, as the upstream side needs it. */
export interface Client extends ResponseClient {
  /** Stops and starts the reading of the request's body. */
  holdRequest(): void;
  moreRequest(): void;
  /** Answers in the upstream's place; only before a response has begun. */
  answer(answer: LocalAnswer): void;
  responseDone(): void;
  /** The response cannot be finished: the client must see that it is cut off. */
  cutOff(): void;
  /** The upstream connection now speaks the protocol that was asked for; `rest` is what it has said already. */
  upgrade(upstream: Upstream, pool: Pool, rest: Buffer): void;
  /** Bytes have moved. */
  progress(): void;
}

/**
 * Carries one request to an upstream connection and its response back, with back-pressure both ways. Of the request it
 * holds at most what was there at the start, until the response begins. One object serves all requests of a connection.
 */
export class Forward implements UpstreamUser {
  readonly #client: Client;
  readonly #relay: ResponseRelay;
  #pool: Pool | undefined;
  #upstream: Upstream | undefined;
  /** The request as far as it was there at the start; empty once it cannot be sent again. */
  #request: string | Buffer = '';
  #canRepeat = false;
  #mayReuse = true;
  #repeated = false;
  #attempts = 0;
  #paused = false;

  constructor(client: Client, parts: ResponseParts) {
    this.#client = client;
    this.#relay = new ResponseRelay(client, parts);
  }

  /** Has the client seen the beginning of the response? */
  get hasBegun(): boolean {
    return this.#relay.begun;
  }

  /** Sends `request`, which is the whole of it or its beginning; `traits` are those of its method. */
  start(request: string | Buffer, traits: number, hasBody: boolean): void {
    this.#relay.reset();
    this.#request = request;
    this.#canRepeat = (traits & method.idempotent) !== 0 && this.#client.requestDone;
    // a server that takes such a body for a request would answer it to whoever uses the connection next
    this.#mayReuse = !hasBody || (traits & method.bodyless) === 0;
    this.#repeated = this.#paused = false;
    this.#attempts = 0;
    this.#acquire(undefined, false);
    const waits = this.#pool !== undefined && this.#upstream === undefined;
    if (waits && !this.#client.requestDone) this.#client.holdRequest();
  }

  /** More of the request's body. */
  send(data: Buffer): void {
    this.#request = '';
    // behind the last of it comes the next request, which must not wait for this one's drain
    if (this.#upstream?.write(data) === false && !this.#client.requestDone) this.#client.holdRequest();
  }

  /** What is under way is of no use any more. */
  abort(): void {
    const pool = this.#pool;
    const upstream = this.#upstream;
    this.#clear();
    if (upstream !== undefined) pool?.release(upstream, false);
    else pool?.cancel(this);
  }

  /** Nothing has moved for too long. */
  timeOut(): void {
    const slowClient = !this.#client.requestDone;
    if (slowClient) this.#client.closeAfterwards();
    else if (!this.#relay.begun) this.#pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'SI';
    if (this.#relay.begun) this.#client.cutOff();
    else this.#client.answer(slowClient ? streamIdleRequest : streamIdle);
  }

  onClientDrain(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#upstream?.resume();
  }

  onReady(upstream: Upstream): void {
    this.#upstream = upstream;
    const flows = upstream.write(this.#request);
    if (this.#client.requestDone) return;
    if (flows) this.#client.moreRequest();
    else this.#client.holdRequest();
  }

  /** Nothing has been sent, so another host may be tried whatever the request is. */
  onUnavailable(why: Unavailable): void {
    const failed = this.#pool;
    this.#pool = undefined;
    this.#acquire(failed, this.#repeated, why);
  }

  onDrain(): void {
    this.#client.moreRequest();
  }

  onBytes(bytes: Buffer, length: number): void {
    const begun = this.#relay.begun;
    this.#client.progress();
    const step = this.#relay.take(bytes, length);
    if (!begun && this.#relay.begun) {
      this.#request = '';
      this.#pool?.report(this.#client.exchange.status);
    }
    switch (step) {
      case 'more':
        return;
      case 'stalled':
        this.#paused = true;
        this.#upstream?.pause();
        return;
      case 'done':
        this.#finish(false);
        return;
      case 'done-reusable':
        this.#finish(this.#mayReuse && this.#client.requestDone);
        return;
      case 'upgraded':
        this.#upgrade(bytes.subarray(this.#relay.upgradedAt, length));
        return;
      case 'bad':
        this.#fail();
        return;
      default:
        step satisfies never;
    }
  }

  onEnd(): void {
    if (this.#relay.isWholeAtEnd()) this.#finish(false);
    else this.#upstream?.destroy();
  }

  /** A used connection may have been closed by the other side just as the request was on its way: that is tried again once. */
  onClosed(): void {
    const stale = (this.#upstream?.served ?? 0) > 0;
    const pool = this.#pool;
    if (this.#upstream?.refused === true && this.#request !== '') {
      this.#upstream = undefined;
      this.onUnavailable('overflow');
      return;
    }
    this.#upstream = this.#pool = undefined;
    if (stale && this.#canRepeat && !this.#repeated && !this.#relay.touched) {
      this.#repeated = true;
      this.#attempts = 0;
      this.#acquire(undefined, true);
      return;
    }
    pool?.report(noAnswer);
    this.#client.exchange.flag = 'UC';
    if (this.#relay.begun) this.#client.cutOff();
    else this.#client.answer(answerUnavailable('connection-termination'));
  }

  /** Asks for a connection to a host, another than `avoid`; answers when there are no more attempts. */
  #acquire(avoid: Pool | undefined, fresh: boolean, reason: Unavailable = 'no-healthy-upstream'): void {
    const { exchange } = this.#client;
    const { target } = exchange;
    let why = reason;
    let last = avoid;
    while (target !== undefined && this.#attempts < target.maxAttempts) {
      this.#attempts++;
      const pool = target.choose(exchange, last);
      if (pool === undefined) break;
      this.#pool = last = pool;
      const refused = pool.acquire(this, fresh);
      if (refused === undefined) return;
      this.#pool = undefined;
      why = refused;
    }
    this.#client.answer(answerUnavailable(why));
  }

  #finish(reusable: boolean): void {
    const pool = this.#pool;
    const upstream = this.#upstream;
    this.#clear();
    if (upstream !== undefined) pool?.release(upstream, reusable);
    this.#client.responseDone();
  }

  #upgrade(rest: Buffer): void {
    const pool = this.#pool;
    const upstream = this.#upstream;
    this.#clear();
    if (upstream !== undefined && pool !== undefined) this.#client.upgrade(upstream, pool, Buffer.from(rest));
  }

  /** The upstream side does not speak HTTP as it should. */
  #fail(): void {
    this.#pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'UPE';
    if (this.#relay.begun) this.#client.cutOff();
    else this.#client.answer(badUpstream);
  }

  #clear(): void {
    this.#upstream = this.#pool = undefined;
    this.#request = '';
  }
}

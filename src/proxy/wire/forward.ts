import { Buffer } from 'node:buffer';
import { type Failure, retriesFailure, retriesStatus } from '../../traffic/retry.ts';
import type { TryPolicy } from '../../traffic/route-action.ts';
import type { Unavailable } from '../respond.ts';
import {
  answerUnavailable,
  badUpstream,
  type LocalAnswer,
  streamIdle,
  streamIdleRequest,
  upstreamTimeout,
} from '../respond.ts';
import type { Upstream, UpstreamUser } from '../upstream/connection.ts';
import { noAnswer, type Pool } from '../upstream/pool.ts';
import { fieldOf } from './fields.ts';
import type { Head } from './head.ts';
import { method } from './methods.ts';
import { type ResponseClient, type ResponseJudge, type ResponseParts, ResponseRelay } from './response-relay.ts';
import { Tries, type TriesParts } from './tries.ts';

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

/** What all exchanges of a proxy share. */
export interface ForwardParts extends ResponseParts, TriesParts {}

const word = (text: string): Uint8Array => Uint8Array.from(text, c => c.charCodeAt(0));
const grpcStatus = word('grpc-status');
const overloaded = word('x-envoy-overloaded');
const rateLimited = word('x-envoy-ratelimited');

/**
 * Carries one request to an upstream connection and its response back, with back-pressure both ways. Of the request it
 * holds at most what was there at the start, until the response begins; more where a route says that it may be tried again
 * (`tries.ts`). One object serves all requests of a connection.
 */
export class Forward implements UpstreamUser, ResponseJudge {
  readonly #client: Client;
  readonly #parts: ForwardParts;
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
  /** Made for the first request whose route asks for it. */
  #ownTries: Tries | undefined;
  /** Of the request at hand; undefined when its route asks for nothing. */
  #tries: Tries | undefined;
  /** One of the retries that the target lets be under way. */
  #isRetry = false;
  #lastPool: Pool | undefined;
  #cancelDelay: (() => void) | undefined;

  constructor(client: Client, parts: ForwardParts) {
    this.#client = client;
    this.#parts = parts;
    this.#relay = new ResponseRelay(client, parts, this);
  }

  get source(): string {
    return this.#client.exchange.source;
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
    const { tries, delayMs } = this.#client.exchange;
    if (tries !== undefined) this.#beginTries(tries);
    if (delayMs > 0) this.#cancelDelay = this.#parts.clock.after(delayMs, this.#onDelayed);
    else this.#acquire(undefined, false);
    const waits = this.#pool === undefined ? this.#cancelDelay !== undefined : this.#upstream === undefined;
    if (waits && !this.#client.requestDone) this.#client.holdRequest();
  }

  /** More of the request's body. */
  send(data: Buffer): void {
    if (this.#tries === undefined || this.#relay.begun) this.#request = '';
    else {
      this.#tries.keep(data);
      if (!this.#tries.canResend) this.#request = '';
      if (this.#client.requestDone) this.#limit(this.#tries);
    }
    if (!this.#client.requestDone) this.#upstream?.gather();
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
    if (!this.#client.requestDone) upstream.gather();
    let flows = upstream.write(this.#request);
    if (this.#tries !== undefined) for (const piece of this.#tries.kept) flows = upstream.write(piece);
    if (this.#client.requestDone) return;
    if (flows) this.#client.moreRequest();
    else this.#client.holdRequest();
  }

  /** Nothing has been sent, so another host may be tried whatever the request is. */
  onUnavailable(why: Unavailable): void {
    const failed = this.#pool;
    this.#pool = undefined;
    if (this.#tries === undefined) this.#acquire(failed, this.#repeated, why);
    else if (why !== 'connection-failure' || !this.#triesAgain('connect-failure', failed)) {
      this.#answer(answerUnavailable(why));
    }
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
      if (this.#tries !== undefined) this.#onBegun(this.#tries);
      this.#pool?.report(this.#relay.outcome);
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
      case 'discarded':
      case 'discarded-reusable':
        this.#discard(step === 'discarded-reusable' && this.#mayReuse && this.#client.requestDone);
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
    if (this.#upstream?.refused === true && this.#request !== '' && !this.#relay.touched) {
      this.#upstream = undefined;
      if (this.#tries === undefined || !this.#triesAgain('refused-stream', pool)) this.onUnavailable('overflow');
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
    if (!this.#relay.begun && this.#triesAgain('reset', pool)) return;
    this.#client.exchange.flag = 'UC';
    this.#giveUp(answerUnavailable('connection-termination'));
  }

  /** Is a response whose head is there not worth passing on, since the request is to be tried again? */
  discards(head: Head, bytes: Buffer): boolean {
    const policy = this.#tries?.retry;
    if (policy === undefined || (head.status < 400 && !policy.readsGrpcStatus)) return false;
    const wants = retriesStatus(
      policy,
      head.status,
      policy.readsGrpcStatus ? fieldOf(head, bytes, grpcStatus) : undefined,
      fieldOf(head, bytes, overloaded) !== undefined,
      fieldOf(head, bytes, rateLimited) !== undefined,
    );
    return wants && this.#mayTryAgain();
  }

  /** Asks for a connection to a host, another than `avoid`; answers when there are no more attempts. */
  #acquire(avoid: Pool | undefined, fresh: boolean, reason: Unavailable = 'no-healthy-upstream'): void {
    if (this.#tries !== undefined) {
      this.#acquireOnce(this.#tries, avoid, fresh);
      return;
    }
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

  // --- what a route asks for ---

  #beginTries(policy: TryPolicy): void {
    this.#ownTries ??= new Tries(this.#parts);
    this.#tries = this.#ownTries;
    this.#tries.begin(policy);
    if (this.#client.requestDone) this.#tries.limitRoute(this.#onTimeout);
  }

  /** A try of which the policy decides what follows it; where there is no other host than `avoid`, to that one again. */
  #acquireOnce(tries: Tries, avoid: Pool | undefined, fresh: boolean): void {
    const { exchange } = this.#client;
    const { target } = exchange;
    const pool = target?.choose(exchange, avoid) ?? (avoid && target?.choose(exchange, undefined));
    this.#pool = pool;
    const refused = pool === undefined ? 'no-healthy-upstream' : pool.acquire(this, fresh);
    if (refused === undefined) {
      if (this.#client.requestDone) tries.limitTry(this.#onTryTimeout);
      return;
    }
    this.#pool = undefined;
    this.#answer(answerUnavailable(refused));
  }

  /** The whole request has come. */
  #limit(tries: Tries): void {
    tries.limitRoute(this.#onTimeout);
    tries.limitTry(this.#onTryTimeout);
  }

  #onBegun(tries: Tries): void {
    tries.endTry();
    tries.forget();
    this.#endRetry();
  }

  readonly #onDelayed = (): void => {
    this.#cancelDelay = undefined;
    const { abort } = this.#client.exchange;
    if (abort === undefined) this.#acquire(undefined, false);
    else this.#answer(abort);
  };

  readonly #onTimeout = (): void => {
    if (!this.#relay.begun) this.#pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'UT';
    this.#giveUp(upstreamTimeout);
  };

  readonly #onTryTimeout = (): void => {
    const pool = this.#pool;
    const upstream = this.#upstream;
    this.#pool = this.#upstream = undefined;
    pool?.report(noAnswer);
    if (upstream !== undefined) pool?.release(upstream, false);
    else pool?.cancel(this);
    if (this.#triesAgain('reset', pool)) return;
    this.#client.exchange.flag = 'UT';
    this.#giveUp(upstreamTimeout);
  };

  #discard(reusable: boolean): void {
    const pool = this.#pool;
    const upstream = this.#upstream;
    this.#pool = this.#upstream = undefined;
    pool?.report(this.#relay.outcome);
    if (upstream !== undefined) pool?.release(upstream, reusable);
    this.#waitToRetry(pool);
  }

  #triesAgain(failure: Failure, failed: Pool | undefined): boolean {
    const policy = this.#tries?.retry;
    if (policy === undefined || !retriesFailure(policy, failure) || !this.#mayTryAgain()) return false;
    this.#pool = undefined;
    this.#waitToRetry(failed);
    return true;
  }

  /** Takes the right to one more try, if there is one. */
  #mayTryAgain(): boolean {
    this.#endRetry();
    const tries = this.#tries;
    const { exchange } = this.#client;
    if (tries === undefined || !tries.canResend) return false;
    if (tries.isExhausted) {
      exchange.note = 'URX';
      return false;
    }
    this.#isRetry = exchange.target?.beginRetry() === true;
    return this.#isRetry;
  }

  #waitToRetry(failed: Pool | undefined): void {
    this.#relay.reset();
    this.#lastPool = this.#tries?.retry?.ignorePreviousHosts === true ? failed : undefined;
    if (!this.#client.requestDone) this.#client.holdRequest();
    this.#tries?.schedule(this.#onRetry);
  }

  readonly #onRetry = (): void => {
    const avoid = this.#lastPool;
    this.#lastPool = undefined;
    this.#acquire(avoid, false);
  };

  #endRetry(): void {
    if (this.#isRetry) this.#client.exchange.target?.endRetry();
    this.#isRetry = false;
  }

  #answer(answer: LocalAnswer): void {
    this.#clear();
    this.#client.answer(answer);
  }

  #giveUp(answer: LocalAnswer): void {
    this.#clear();
    if (this.#relay.begun) this.#client.cutOff();
    else this.#client.answer(answer);
  }

  // --- the end ---

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
    this.#giveUp(badUpstream);
  }

  #clear(): void {
    this.#upstream = this.#pool = undefined;
    this.#request = '';
    this.#cancelDelay?.();
    this.#cancelDelay = undefined;
    if (this.#tries === undefined) return;
    this.#tries.end();
    this.#tries = this.#lastPool = undefined;
    this.#endRetry();
  }
}

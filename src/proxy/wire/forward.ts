import { Buffer } from 'node:buffer';
import type { Failure } from '../../traffic/retry.ts';
import type { TryPolicy } from '../../traffic/route-action.ts';
import type { Unavailable } from '../respond.ts';
import {
  answerUnavailable,
  answerWith,
  badUpstream,
  type LocalAnswer,
  streamIdle,
  streamIdleRequest,
  upstreamTimeout,
} from '../respond.ts';
import type { Upstream, UpstreamUser } from '../upstream/connection.ts';
import { noAnswer, type Pool } from '../upstream/pool.ts';
import type { Head } from './head.ts';
import { HostSearch } from './host-search.ts';
import { KeptRequest } from './kept-request.ts';
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

/**
 * Carries one request to an upstream connection and its response back, with back-pressure both ways. Of the request it
 * holds at most what was there at the start, until the response begins; more where it may be tried elsewhere. One object
 * serves all requests of a connection.
 */
export class Forward implements UpstreamUser, ResponseJudge {
  readonly #client: Client;
  readonly #parts: ForwardParts;
  readonly #relay: ResponseRelay;
  readonly #hosts = new HostSearch();
  readonly #kept = new KeptRequest();
  #upstream: Upstream | undefined;
  #canRepeat = false;
  #mayReuse = true;
  #repeated = false;
  #paused = false;
  /** Made for the first request whose route asks for it. */
  #ownTries: Tries | undefined;
  /** Of the request at hand; undefined when its route asks for nothing. */
  #tries: Tries | undefined;
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
    const { tries, delayMs, target } = this.#client.exchange;
    this.#relay.reset();
    this.#hosts.begin();
    const mayGoElsewhere = tries === undefined ? (target?.maxAttempts ?? 0) > 1 : tries.retry !== undefined;
    this.#kept.begin(request, mayGoElsewhere);
    this.#canRepeat = (traits & method.idempotent) !== 0 && this.#client.requestDone;
    // a server that takes such a body for a request would answer it to whoever uses the connection next
    this.#mayReuse = !hasBody || (traits & method.bodyless) === 0;
    this.#repeated = this.#paused = false;
    if (tries !== undefined) this.#beginTries(tries);
    if (delayMs > 0) this.#cancelDelay = this.#parts.clock.after(delayMs, this.#onDelayed);
    else this.#acquire(false);
    if (this.#cancelDelay !== undefined && !this.#client.requestDone) this.#client.holdRequest();
  }

  /** More of the request's body. */
  send(data: Buffer): void {
    if (!this.#relay.begun) this.#kept.add(data);
    if (this.#tries !== undefined && this.#client.requestDone) this.#limit(this.#tries);
    if (!this.#client.requestDone) this.#upstream?.gather();
    // behind the last of it comes the next request, which must not wait for this one's drain
    if (this.#upstream?.write(data) === false && !this.#client.requestDone) this.#client.holdRequest();
  }

  /** What is under way is of no use any more. */
  abort(): void {
    this.#giveBack(this.#hosts.done(), false);
    this.#clear();
  }

  /** Nothing has moved for too long. */
  timeOut(): void {
    const slowClient = !this.#client.requestDone;
    if (slowClient) this.#client.closeAfterwards();
    else if (!this.#relay.begun) this.#hosts.pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'SI';
    this.#giveUp(slowClient ? streamIdleRequest : streamIdle);
  }

  onClientDrain(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#upstream?.resume();
  }

  onReady(upstream: Upstream): void {
    this.#upstream = upstream;
    if (!this.#client.requestDone) upstream.gather();
    const flows = this.#kept.writeTo(upstream);
    if (this.#client.requestDone) return;
    if (flows) this.#client.moreRequest();
    else this.#client.holdRequest();
  }

  /** Nothing has been sent, so another host may be tried whatever the request is. */
  onUnavailable(why: Unavailable): void {
    this.#hosts.leave();
    if (this.#tries === undefined) {
      // an application may have seen what is repeated
      const isSeen = this.#repeated && why === 'connection-failure';
      this.#acquire(this.#repeated, isSeen ? 'connection-termination' : why);
    } else if (why !== 'connection-failure' || !this.#triesAgain('connect-failure')) {
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
      this.#kept.drop();
      this.#tries?.endTry();
      this.#hosts.pool?.report(this.#relay.outcome);
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
    const upstream = this.#upstream;
    this.#upstream = undefined;
    const pool = this.#hosts.leave();
    if (upstream?.refused === true && this.#kept.isWhole && !this.#relay.touched) {
      if (this.#tries === undefined || !this.#triesAgain('refused-stream')) this.onUnavailable('overflow');
      return;
    }
    if (upstream?.mayBeStale === true && this.#canRepeat && !this.#repeated && !this.#relay.touched) {
      this.#repeated = true;
      this.#hosts.begin();
      this.#acquire(true);
      return;
    }
    pool?.report(noAnswer);
    if (!this.#relay.begun && this.#triesAgain('reset')) return;
    this.#client.exchange.flag = 'UC';
    this.#giveUp(answerUnavailable('connection-termination'));
  }

  /** Is a response whose head is there not worth passing on, since the request is to be tried again? */
  discards(head: Head, bytes: Buffer, refused: boolean): boolean {
    if (!this.#kept.isWhole) return false;
    if (this.#tries === undefined) return refused && this.#hosts.mayGoOn(this.#client.exchange);
    return (refused && this.#tries.followsFailure('refused-stream')) || this.#tries.followsResponse(head, bytes);
  }

  /** Asks for a connection to a host where the request has not been; answers when there is none. */
  #acquire(fresh: boolean, reason: Unavailable = 'no-healthy-upstream'): void {
    const { exchange, requestDone } = this.#client;
    const tries = this.#tries;
    const refused =
      tries === undefined ? this.#hosts.search(this, exchange, fresh, reason) : this.#hosts.take(this, exchange, fresh);
    if (refused !== undefined) this.#answer(answerUnavailable(refused, exchange.refusalLine));
    else if (requestDone) tries?.limitTry(this.#onTryTimeout);
    // what comes of the body before there is a connection would be lost
    else if (this.#hosts.pool !== undefined && this.#upstream === undefined) this.#client.holdRequest();
  }

  // --- what a route asks for ---

  #beginTries(policy: TryPolicy): void {
    this.#ownTries ??= new Tries(this.#parts, this.#client.exchange);
    this.#tries = this.#ownTries;
    this.#tries.begin(policy);
    if (this.#client.requestDone) this.#tries.limitRoute(this.#onTimeout);
  }

  /** The whole request has come. */
  #limit(tries: Tries): void {
    tries.limitRoute(this.#onTimeout);
    if (!this.#relay.begun) tries.limitTry(this.#onTryTimeout);
  }

  readonly #onDelayed = (): void => {
    this.#cancelDelay = undefined;
    const { abort } = this.#client.exchange;
    if (abort === undefined) this.#acquire(false);
    else this.#answer(abort);
  };

  readonly #onTimeout = (): void => {
    if (!this.#relay.begun) this.#hosts.pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'UT';
    this.#giveUp(upstreamTimeout);
  };

  readonly #onTryTimeout = (): void => {
    const pool = this.#hosts.leave();
    pool?.report(noAnswer);
    this.#giveBack(pool, false);
    if (this.#triesAgain('reset')) return;
    this.#client.exchange.flag = 'UT';
    this.#giveUp(upstreamTimeout);
  };

  #discard(reusable: boolean): void {
    const pool = this.#hosts.leave();
    pool?.report(this.#relay.outcome);
    this.#giveBack(pool, reusable);
    this.#waitToRetry();
  }

  #triesAgain(failure: Failure): boolean {
    if (!this.#kept.isWhole || this.#tries?.followsFailure(failure) !== true) return false;
    this.#waitToRetry();
    return true;
  }

  #waitToRetry(): void {
    this.#relay.reset();
    if (!this.#client.requestDone) this.#client.holdRequest();
    if (this.#tries === undefined) this.#acquire(false, 'connection-failure');
    else this.#tries.schedule(this.#onRetry);
  }

  readonly #onRetry = (): void => {
    if (this.#tries?.ignoresPreviousHosts !== true) this.#hosts.begin();
    this.#acquire(false);
  };

  // --- the end ---

  /** An answer of the proxy's own, with what the route says of answers: pages of an allowed origin may read this one too. */
  #answer(answer: LocalAnswer): void {
    this.#clear();
    this.#client.answer(answerWith(answer, this.#client.exchange.responseAdditions));
  }

  #giveUp(answer: LocalAnswer): void {
    if (!this.#relay.begun) {
      this.#answer(answer);
      return;
    }
    this.#clear();
    this.#client.cutOff();
  }

  #finish(reusable: boolean): void {
    this.#giveBack(this.#hosts.done(), reusable);
    this.#clear();
    this.#client.responseDone();
  }

  #upgrade(rest: Buffer): void {
    const pool = this.#hosts.done();
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#clear();
    if (upstream !== undefined && pool !== undefined) this.#client.upgrade(upstream, pool, Buffer.from(rest));
  }

  /** The upstream side does not speak HTTP as it should. */
  #fail(): void {
    this.#hosts.pool?.report(noAnswer);
    this.abort();
    this.#client.exchange.flag = 'UPE';
    this.#giveUp(badUpstream);
  }

  /** Gives the connection back to where it is from, or the place among those that wait for one. */
  #giveBack(pool: Pool | undefined, reusable: boolean): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    if (upstream !== undefined) pool?.release(upstream, reusable);
    else pool?.cancel(this);
  }

  #clear(): void {
    this.#kept.drop();
    this.#cancelDelay?.();
    this.#cancelDelay = undefined;
    this.#tries?.end();
    this.#tries = undefined;
  }
}

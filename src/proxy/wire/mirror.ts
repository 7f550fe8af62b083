import type { Buffer } from 'node:buffer';
import { secondMs } from '../../base/clock.ts';
import { Shares } from '../admission.ts';
import type { Deadlines, Timed } from '../deadlines.ts';
import type { Upstream } from '../upstream/connection.ts';
import type { Pool } from '../upstream/pool.ts';
import { Exchange, type MirrorStart, type Target } from './exchange.ts';
import { type Client, Forward, type ForwardParts } from './forward.ts';
import { method } from './methods.ts';

/** So many copies may be under way in one proxy, and half of them of one task; further requests are not mirrored. */
const maxMirrors = 64;
/** A copy whose host takes longer to take it is given up: the request itself never waits for it. */
const maxQueuedBytes = 64 * 1024;
const idleMs = 15 * secondMs;

/** The copies of requests that are under way. */
export class Mirrors {
  readonly #parts: ForwardParts;
  readonly #deadlines: Deadlines;
  readonly #shares = new Shares(maxMirrors / 2);
  #active = 0;

  constructor(parts: ForwardParts, deadlines: Deadlines) {
    this.#parts = parts;
    this.#deadlines = deadlines;
  }

  /** Sends a copy; undefined when there are too many. `isWhole` tells that `request` is all of it. */
  start(
    { target, task }: MirrorStart,
    request: string | Buffer,
    traits: number,
    hasBody: boolean,
    isWhole: boolean,
  ): Mirror | undefined {
    if (this.#active >= maxMirrors || !this.#shares.take(task)) return undefined;
    this.#active++;
    const mirror = new Mirror(this.#parts, this.#deadlines, () => {
      this.#active--;
      this.#shares.give(task);
    });
    mirror.start(target, request, traits, hasBody, isWhole);
    return mirror;
  }
}

/** One copy: a client that hears nothing of the answer. */
export class Mirror implements Client, Timed {
  readonly exchange = new Exchange();
  toHead = false;
  readonly isGrpc = false;
  readonly asksWebSocket = false;
  readonly minor = 1;
  readonly closing = false;
  /** Has all of it been handed on? What is queued has not: a host that answers early still waits for it. */
  requestDone = false;
  deadlineAt: number;
  readonly #deadlines: Deadlines;
  readonly #onOver: () => void;
  readonly #forward: Forward;
  #isHeld = false;
  #isOver = false;
  #queued: Buffer[] = [];
  #queuedBytes = 0;
  /** Is what is queued the end of the request? */
  #queuedLast = false;

  constructor(parts: ForwardParts, deadlines: Deadlines, onOver: () => void) {
    this.#deadlines = deadlines;
    this.#onOver = onOver;
    this.#forward = new Forward(this, parts);
    this.deadlineAt = deadlines.now + idleMs;
    deadlines.add(this);
  }

  start(to: Target, request: string | Buffer, traits: number, hasBody: boolean, isWhole: boolean): void {
    this.exchange.target = to;
    this.requestDone = isWhole;
    this.toHead = (traits & method.head) !== 0;
    this.#forward.start(request, traits, hasBody);
  }

  /** More of the body; `isLast` tells that it is the end of it. */
  send(data: Buffer, isLast: boolean): void {
    if (this.#isOver) return;
    if (!this.#isHeld) {
      this.requestDone = isLast;
      this.#forward.send(data);
      return;
    }
    this.#queuedLast = isLast;
    this.#queuedBytes += data.length;
    if (this.#queuedBytes > maxQueuedBytes) this.abort();
    else this.#queued.push(data);
  }

  /** The rest of the request will not come. */
  abort(): void {
    if (this.#isOver) return;
    this.#forward.abort();
    this.#end();
  }

  holdRequest(): void {
    this.#isHeld = true;
  }

  moreRequest(): void {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    const queued = this.#queued;
    this.#queued = [];
    this.#queuedBytes = 0;
    const isWhole = this.#queuedLast;
    let left = queued.length;
    for (const data of queued) this.send(data, --left === 0 && isWhole);
  }

  progress(): void {
    this.deadlineAt = this.#deadlines.now + idleMs;
  }

  onDeadline(): void {
    this.abort();
  }

  write(_data: string | Buffer, done?: () => void): boolean {
    done?.();
    return true;
  }

  answer(): void {
    this.#end();
  }

  responseDone(): void {
    this.#end();
  }

  cutOff(): void {
    this.#end();
  }

  closeAfterwards(): void {}

  upgrade(upstream: Upstream, pool: Pool): void {
    pool.release(upstream, false);
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#queued = [];
    this.#deadlines.delete(this);
    this.#onOver();
  }
}

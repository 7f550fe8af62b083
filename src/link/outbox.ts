import { isMesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import type { Link } from './link.ts';

export interface OutboxSettings {
  /** Messages that wait in order; beyond it the oldest is dropped. */
  readonly maxQueued?: number;
  /** Their payloads in bytes, likewise. */
  readonly maxQueuedBytes?: number;
  /** Topics with a newest message; a further one is dropped. */
  readonly maxLatest?: number;
  /** How often one message is tried, each time on a new connection, before it is dropped: one that the broker refuses must not hold up the rest for ever. */
  readonly maxAttempts?: number;
}

const defaults = { maxQueued: 1000, maxQueuedBytes: 4 * 1024 * 1024, maxLatest: 16, maxAttempts: 10 } as const;

export interface OutboxStats {
  readonly waiting: number;
  readonly waitingBytes: number;
  readonly sent: number;
  readonly dropped: number;
}

interface Queued {
  readonly topic: string;
  readonly payload: Uint8Array;
  attempts: number;
}

/**
 * What an agent has to say, held while the link is down. Two lanes: `latest` keeps the newest message of each topic (QoS 0), `queue` keeps
 * them all in order (QoS 1) within its bound, and drops the oldest beyond it.
 */
export class Outbox {
  readonly #link: Pick<Link, 'state' | 'publish'>;
  readonly #log: Log;
  readonly #settings: Required<OutboxSettings>;
  readonly #latest = new Map<string, Uint8Array>();
  readonly #queue: Queued[] = [];
  #queuedBytes = 0;
  #sent = 0;
  #dropped = 0;
  #signal: AbortSignal | undefined;
  readonly #latestLane: () => void;
  readonly #queueLane: () => void;

  constructor(
    { link, log }: { readonly link: Pick<Link, 'state' | 'publish'>; readonly log: Log },
    settings: OutboxSettings = {},
  ) {
    this.#link = link;
    this.#log = log;
    this.#settings = { ...defaults, ...settings };
    this.#latestLane = oneAtATime(() => this.#sendLatest());
    this.#queueLane = oneAtATime(() => this.#sendQueued());
  }

  /** Sends when it can; until then a newer one on the same topic replaces it. */
  latest(topic: string, payload: Uint8Array): void {
    if (!this.#latest.has(topic) && this.#latest.size >= this.#settings.maxLatest) {
      this.#drop(topic, 'too many topics wait');
      return;
    }
    this.#latest.set(topic, payload);
    this.#wake();
  }

  /** Sends when it can, after all that was queued before. */
  queue(topic: string, payload: Uint8Array): void {
    this.#queue.push({ topic, payload, attempts: 0 });
    this.#queuedBytes += payload.length;
    this.#trim();
    this.#wake();
  }

  stats(): OutboxStats {
    return {
      waiting: this.#queue.length + this.#latest.size,
      waitingBytes: this.#queuedBytes,
      sent: this.#sent,
      dropped: this.#dropped,
    };
  }

  /** Sends whenever the link is up, until the signal aborts. */
  async start(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    const unwatch = this.#link.state.watch(() => this.#wake());
    onAbort(signal, unwatch);
    this.#wake();
  }

  #wake(): void {
    this.#latestLane();
    this.#queueLane();
  }

  #maySend(): boolean {
    return this.#signal?.aborted === false && this.#link.state.value === 'up';
  }

  /** Sends the newest message of one topic; false when there is nothing to do until the next wake. */
  async #sendLatest(): Promise<boolean> {
    const [entry] = this.#latest;
    if (entry === undefined || !this.#maySend()) return false;
    const [topic, payload] = entry;
    this.#latest.delete(topic);
    const outcome = await this.#send(topic, payload, 0);
    if (outcome === 'later' && !this.#latest.has(topic)) this.#latest.set(topic, payload);
    return outcome !== 'later';
  }

  async #sendQueued(): Promise<boolean> {
    if (!this.#maySend()) return false;
    const item = this.#shift();
    if (item === undefined) return false;
    const outcome = await this.#send(item.topic, item.payload, 1);
    if (outcome !== 'later') return true;
    if (++item.attempts >= this.#settings.maxAttempts) {
      this.#drop(item.topic, 'it was tried too often');
      return true;
    }
    this.#queue.unshift(item);
    this.#queuedBytes += item.payload.length;
    this.#trim();
    return false;
  }

  async #send(topic: string, payload: Uint8Array, qos: 0 | 1): Promise<'sent' | 'later' | 'dropped'> {
    try {
      await this.#link.publish(topic, payload, { qos });
      this.#sent++;
      return 'sent';
    } catch (error) {
      if (isMesoliteError(error, 'UNAVAILABLE') || isMesoliteError(error, 'QUEUE_FULL')) return 'later';
      this.#drop(topic, messageOf(error));
      return 'dropped';
    }
  }

  #shift(): Queued | undefined {
    const item = this.#queue.shift();
    this.#queuedBytes -= item?.payload.length ?? 0;
    return item;
  }

  #trim(): void {
    const { maxQueued, maxQueuedBytes } = this.#settings;
    while (this.#queue.length > maxQueued || this.#queuedBytes > maxQueuedBytes) {
      const oldest = this.#shift();
      if (oldest !== undefined) this.#drop(oldest.topic, 'the queue is full');
    }
  }

  #drop(topic: string, reason: string): void {
    const fields = { topic, reason, dropped: ++this.#dropped };
    // the first is news; at the bound every further one would be
    if (this.#dropped === 1) this.#log.warn('a message to the master was dropped', fields);
    else this.#log.debug('a message to the master was dropped', fields);
  }
}

/** Repeats `step` while it returns true, one at a time; the returned function starts that, or has it look once more when it runs. */
function oneAtATime(step: () => Promise<boolean>): () => void {
  let isRunning = false;
  let isWanted = false;
  const run = async () => {
    isRunning = true;
    do {
      isWanted = false;
      while (await step());
    } while (isWanted);
    isRunning = false;
  };
  return () => {
    isWanted = true;
    if (!isRunning) void run();
  };
}

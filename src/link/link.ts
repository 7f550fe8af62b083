import type { Cell } from '../base/cell.ts';
import { MesoliteError } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';

export type LinkState = 'connecting' | 'up' | 'down';

/** Called for each message; what it throws is counted and logged, and harms nobody else. The payload is not to be kept. */
export type MessageHandler = (topic: string, payload: Uint8Array) => void;

export interface PublishOptions {
  readonly qos: 0 | 1;
  readonly retain?: boolean;
  readonly signal?: AbortSignal;
}

/** Plain data for metrics. */
export interface LinkStats {
  readonly published: number;
  readonly received: number;
  readonly handlerErrors: number;
  /** How often the link came up. */
  readonly connections: number;
}

/**
 * The way to the broker, for an agent and for a master alike. At most once (QoS 0) or at least once (QoS 1) while it is up; nothing is kept
 * while it is down, nor by the broker on one's behalf: what must arrive is acknowledged by its reader (PROTOCOL).
 */
export interface Link {
  /** `up` once the subscriptions are in force. */
  readonly state: Cell<LinkState>;
  /**
   * Sends one message; resolves when it is handed over (QoS 0) or the broker has acknowledged it (QoS 1). Throws UNAVAILABLE while
   * the link is not up, when it goes down meanwhile and when the signal aborts; TOO_LARGE; QUEUE_FULL when too many are under way.
   */
  publish(topic: string, payload: Uint8Array, options: PublishOptions): Promise<void>;
  /**
   * Hears a topic or a filter with wildcards, before or after `start` and over every reconnect. The retained message of an exact topic
   * comes each time anew. The returned function ends it.
   */
  subscribe(filter: string, handler: MessageHandler): () => void;
  stats(): LinkStats;
  /** Begins to connect, and again whenever the connection is lost, until the signal aborts. */
  start(signal: AbortSignal): Promise<void>;
  /** Settles when the connection is closed after the signal given to `start` has aborted. */
  readonly closed: Promise<void>;
}

/** Waits until the link is up; throws UNAVAILABLE when the signal aborts first. */
export function untilUp(link: Pick<Link, 'state'>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stopped = () => new MesoliteError('UNAVAILABLE', 'stopped before the link was up', { cause: signal.reason });
    if (link.state.value === 'up') return resolve();
    if (signal.aborted) return reject(stopped());
    const unwatch = link.state.watch(state => {
      if (state !== 'up') return;
      forget();
      unwatch();
      resolve();
    });
    const forget = onAbort(signal, () => {
      unwatch();
      reject(stopped());
    });
  });
}

import { Cell } from '../base/cell.ts';
import { MesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import { Handlers } from './handlers.ts';
import type { Link, LinkState, LinkStats, MessageHandler, PublishOptions } from './link.ts';

/** What the embedded broker offers inside its own process. */
export interface BrokerPort {
  publish(
    topic: string,
    payload: Uint8Array,
    options: { readonly qos: 0 | 1; readonly retain: boolean },
  ): Promise<void>;
  listen(filter: string, handler: (topic: string, payload: Uint8Array) => void): () => void;
}

/** The master's link to the broker it embeds: no socket between them, up from `start` until the signal aborts. */
export class LocalLink implements Link {
  readonly state = new Cell<LinkState>('down');
  readonly closed: Promise<void>;
  #resolveClosed: () => void = () => {};
  readonly #port: BrokerPort;
  readonly #handlers: Handlers;
  /** Starts to listen for one subscription, which returns how to stop. */
  readonly #listeners = new Map<() => () => void, () => void>();
  #published = 0;
  #received = 0;
  #connections = 0;

  constructor({ port, log }: { readonly port: BrokerPort; readonly log: Log }) {
    this.#port = port;
    this.#handlers = new Handlers(log);
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve;
    });
  }

  async publish(topic: string, payload: Uint8Array, { qos, retain, signal }: PublishOptions): Promise<void> {
    if (this.state.value !== 'up' || signal?.aborted === true) {
      throw new MesoliteError('UNAVAILABLE', `${topic}: the link is not up`);
    }
    await this.#port.publish(topic, payload, { qos, retain: retain ?? false });
    this.#published++;
  }

  subscribe(filter: string, handler: MessageHandler): () => void {
    const guarded = this.#handlers.guard(filter, handler);
    const listen = () =>
      this.#port.listen(filter, (topic, payload) => {
        this.#received++;
        guarded(topic, payload);
      });
    this.#listeners.set(listen, this.state.value === 'up' ? listen() : () => {});
    return () => {
      this.#listeners.get(listen)?.();
      this.#listeners.delete(listen);
    };
  }

  stats(): LinkStats {
    return {
      published: this.#published,
      received: this.#received,
      handlerErrors: this.#handlers.errors,
      connections: this.#connections,
    };
  }

  async start(signal: AbortSignal): Promise<void> {
    for (const listen of this.#listeners.keys()) this.#listeners.set(listen, listen());
    this.#connections++;
    this.state.set('up');
    onAbort(signal, () => {
      for (const stop of this.#listeners.values()) stop();
      this.state.set('down');
      this.#resolveClosed();
    });
  }
}

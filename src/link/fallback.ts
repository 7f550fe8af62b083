import type { Duplex } from 'node:stream';
import { Cell } from '../base/cell.ts';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import type { Dial } from './dial.ts';
import type { MqttLink } from './mqtt-link.ts';

/** How a node reaches the broker: on its own port, or as a WebSocket on the port of the HTTPS API. */
export type Via = 'mqtts' | 'wss';

export interface FallbackParts {
  readonly mqtts: Dial;
  /** Undefined where there is no other way. */
  readonly wss: Dial | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export interface FallbackSettings {
  /** Failed attempts in a row on the broker's port before the WebSocket is tried, once there has been a connection. */
  readonly failures?: number;
  /** The same before that: who is nowhere yet loses nothing by the other way. */
  readonly failuresAtFirst?: number;
  /** While on the WebSocket the broker's port is tried so often, a quarter more or less. */
  readonly retryMs?: number;
  /** Such a try may take so long. */
  readonly tryTimeoutMs?: number;
}

const defaults = { failures: 3, failuresAtFirst: 1, retryMs: 5 * minuteMs, tryTimeoutMs: 20 * secondMs } as const;

/**
 * Dials the broker's own port; where a network lets nothing out to it, the WebSocket. It comes back by itself: the port is tried
 * now and then beside the running connection, which ends only when the other one is open. A server that is UNTRUSTED is no
 * reason to try another way.
 */
export class Fallback {
  /** By what the newest connection went. */
  readonly via = new Cell<Via>('mqtts');
  readonly #parts: FallbackParts;
  readonly #settings: Required<FallbackSettings>;
  #mode: Via = 'mqtts';
  #failures = 0;
  #hasArrived = false;
  /** It was said that the WebSocket is used, and nothing else since. */
  #isSaid = false;
  /** A connection to the broker's port that a try has left. */
  #ready: Duplex | undefined;

  constructor(parts: FallbackParts, settings: FallbackSettings = {}) {
    this.#parts = parts;
    this.#settings = { ...defaults, ...settings };
  }

  /** For the link. */
  readonly dial: Dial = async signal => {
    const ready = this.#takeReady();
    if (ready !== undefined) return this.#arrived('mqtts', ready);
    const { mqtts, wss } = this.#parts;
    if (this.#mode === 'wss' && wss !== undefined) {
      try {
        return this.#arrived('wss', await wss(signal));
      } catch (error) {
        // neither way: from now on one after the other
        this.#mode = 'mqtts';
        this.#failures = this.#mostFailures() - 1;
        throw error;
      }
    }
    try {
      return this.#arrived('mqtts', await mqtts(signal));
    } catch (error) {
      this.#failed(error);
      throw error;
    }
  };

  /** Tries the broker's port now and then while `link` goes by the WebSocket, and moves it over, until the signal aborts. */
  async run(link: Pick<MqttLink, 'reconnect'>, signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    const forget = onAbort(signal, () => this.#takeReady()?.destroy());
    while (await clock.sleep(this.#settings.retryMs * (0.75 + 0.5 * random()), signal)) {
      if (this.via.value !== 'wss') continue;
      try {
        this.#keepReady(await this.#try(signal));
        link.reconnect();
      } catch (error) {
        log.debug('the port of the broker still cannot be reached', { reason: messageOf(error) });
      }
    }
    forget();
  }

  async #try(signal: AbortSignal): Promise<Duplex> {
    const { clock, mqtts } = this.#parts;
    const { tryTimeoutMs } = this.#settings;
    const attempt = new AbortController();
    const forget = onAbort(signal, () => attempt.abort(new MesoliteError('UNAVAILABLE', 'stopped')));
    const cancel = clock.after(tryTimeoutMs, () => {
      attempt.abort(new MesoliteError('TIMED_OUT', `no connection within ${tryTimeoutMs} ms`));
    });
    try {
      return await mqtts(attempt.signal);
    } finally {
      cancel();
      forget();
    }
  }

  #keepReady(stream: Duplex): void {
    this.#mode = 'mqtts';
    this.#failures = 0;
    this.#ready = stream;
    // the broker waits for a CONNECT only so long
    stream.once('close', () => {
      if (this.#ready === stream) this.#ready = undefined;
    });
  }

  #takeReady(): Duplex | undefined {
    const ready = this.#ready;
    this.#ready = undefined;
    return ready;
  }

  #arrived(via: Via, stream: Duplex): Duplex {
    const { log } = this.#parts;
    this.#hasArrived = true;
    if (via === 'mqtts') this.#failures = 0;
    if (via === 'wss' && !this.#isSaid) log.warn('the port of the broker cannot be reached: going by WebSocket');
    if (via === 'mqtts' && this.#isSaid) log.info('the port of the broker can be reached again');
    this.#isSaid = via === 'wss';
    this.via.set(via);
    return stream;
  }

  #failed(error: unknown): void {
    const isUntrusted = error instanceof MesoliteError && error.code === 'UNTRUSTED';
    this.#failures = isUntrusted ? 0 : this.#failures + 1;
    if (this.#failures >= this.#mostFailures() && this.#parts.wss !== undefined) this.#mode = 'wss';
  }

  #mostFailures(): number {
    return this.#hasArrived ? this.#settings.failures : this.#settings.failuresAtFirst;
  }
}

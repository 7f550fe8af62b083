import { type BackoffSettings, backoffMs } from '../base/backoff.ts';
import { Cell } from '../base/cell.ts';
import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import { maxKeepaliveSeconds, messageBounds } from '../model/message.ts';
import type { Dial } from './dial.ts';
import { Handlers } from './handlers.ts';
import type { Link, LinkState, LinkStats, MessageHandler, PublishOptions } from './link.ts';
import { type LastWill, MqttConnection } from './mqtt-connection.ts';
import type { CountedPacket } from './packets.ts';

export interface MqttLinkParts {
  readonly dial: Dial;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Told why an attempt failed or a connection ended: UNAVAILABLE, UNTRUSTED, FORBIDDEN, TIMED_OUT or TOO_LARGE; what it says true to is not logged. */
  readonly onFailure?: (error: MesoliteError) => unknown;
  /** Told of each packet, in and out. */
  readonly onPacket?: (packet: CountedPacket) => void;
  /** Told which filters the broker does not grant. */
  readonly onNotGranted?: (filters: readonly string[]) => void;
}

export interface MqttLinkSettings {
  /** A node's id; a joiner's nonce. */
  readonly clientId: string;
  /** A joiner's token id. */
  readonly username?: string;
  readonly will?: LastWill;
  /** Asked at each connection, and lowered to what the broker takes. */
  readonly keepaliveSeconds?: () => number;
  /** From the first packet to subscriptions in force. */
  readonly connectTimeoutMs?: number;
  readonly backoff?: BackoffSettings;
  /** A connection that lasts so long starts the back-off anew. */
  readonly stableMs?: number;
  /** What may be under way unacknowledged when the signal aborts has so long to arrive. */
  readonly closeTimeoutMs?: number;
  readonly maxReceiveBytes?: number;
  readonly maxPublishBytes?: number;
  /** Messages under way at once. */
  readonly maxInFlight?: number;
}

const defaults = {
  keepaliveSeconds: () => 30,
  connectTimeoutMs: 20 * secondMs,
  backoff: { baseMs: secondMs, maxMs: minuteMs },
  stableMs: minuteMs,
  closeTimeoutMs: 2 * secondMs,
  maxReceiveBytes: messageBounds.down.maxBytes + 1024,
  maxPublishBytes: messageBounds.down.maxBytes,
  maxInFlight: 1024,
} as const satisfies Omit<MqttLinkSettings, 'clientId'>;

type Defaults = Required<Pick<MqttLinkSettings, keyof typeof defaults>>;

/** A link over MQTT 3.1.1 to any broker that `dial` reaches; it connects again by itself, with back-off. */
export class MqttLink implements Link {
  readonly state = new Cell<LinkState>('down');
  readonly closed: Promise<void>;
  #resolveClosed: () => void = () => {};
  readonly #parts: MqttLinkParts;
  readonly #settings: MqttLinkSettings & Defaults;
  readonly #handlers: Handlers;
  #connection: MqttConnection | undefined;
  /** The present connection ends because it was asked to. */
  #isMoving = false;
  #inFlight = 0;
  #published = 0;
  #received = 0;
  #connections = 0;

  constructor(parts: MqttLinkParts, settings: MqttLinkSettings) {
    this.#parts = parts;
    this.#settings = { ...defaults, ...settings };
    this.#handlers = new Handlers(parts.log);
    this.closed = new Promise(resolve => {
      this.#resolveClosed = resolve;
    });
  }

  async publish(topic: string, payload: Uint8Array, { qos, retain, signal }: PublishOptions): Promise<void> {
    const connection = this.#connection;
    const { maxPublishBytes, maxInFlight } = this.#settings;
    if (payload.length > maxPublishBytes) {
      throw new MesoliteError('TOO_LARGE', `${topic}: ${payload.length} bytes, at most ${maxPublishBytes} are sent`);
    }
    if (connection === undefined || this.state.value !== 'up' || signal?.aborted === true) {
      throw new MesoliteError('UNAVAILABLE', `${topic}: the link is not up`);
    }
    if (this.#inFlight >= maxInFlight) {
      throw new MesoliteError('QUEUE_FULL', `${topic}: ${maxInFlight} messages are under way already`);
    }
    this.#inFlight++;
    try {
      await unlessAborted(connection.publish(topic, payload, qos, retain ?? false), topic, signal);
      this.#published++;
    } finally {
      this.#inFlight--;
    }
  }

  subscribe(filter: string, handler: MessageHandler): () => void {
    const remove = this.#handlers.add(filter, handler, () => {
      this.#connection?.unsubscribe(filter).catch(() => {});
    });
    // when the connection is lost meanwhile, the next one subscribes
    if (this.#connection !== undefined) this.#subscribe(this.#connection, [filter]).catch(() => {});
    return remove;
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
    void this.#run(signal).finally(this.#resolveClosed);
  }

  /**
   * Lets what is under way arrive, ends the connection with a goodbye and opens another at once: to go by another way. Does nothing
   * while the link is not up.
   */
  reconnect(): void {
    const connection = this.#connection;
    if (connection === undefined || this.state.value !== 'up') return;
    this.#isMoving = true;
    this.state.set('connecting');
    this.#close(connection);
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock, random, log } = this.#parts;
    const { backoff, stableMs } = this.#settings;
    let failures = 0;
    while (!signal.aborted) {
      this.state.set('connecting');
      this.#isMoving = false;
      const { error, lastedMs } = await this.#connectOnce(signal);
      this.state.set('down');
      if (signal.aborted) return;
      if (this.#isMoving) continue;
      if (lastedMs >= stableMs) failures = 0;
      const retryInMs = backoffMs(failures, backoff, random);
      const fields = { code: error.code, reason: error.message, retryInMs };
      const isTold = this.#parts.onFailure?.(error) === true;
      if (failures++ === 0 && !isTold) log.warn('the link is down', fields);
      else log.debug('the link is still down', fields);
      await clock.sleep(retryInMs, signal);
    }
  }

  /** One connection from its first packet to its end. */
  async #connectOnce(signal: AbortSignal): Promise<{ error: MesoliteError; lastedMs: number }> {
    const { clock, log } = this.#parts;
    let upAt = Number.POSITIVE_INFINITY;
    try {
      const connection = await this.#open(signal);
      upAt = clock.monotonic();
      this.#connections++;
      log.info('the link is up');
      this.state.set('up');
      const forget = onAbort(signal, () => this.#close(connection));
      const error = await connection.ended;
      forget();
      return { error, lastedMs: clock.monotonic() - upAt };
    } catch (cause) {
      const error = isMesoliteError(cause) ? cause : new MesoliteError('UNAVAILABLE', messageOf(cause), { cause });
      return { error, lastedMs: 0 };
    } finally {
      this.#connection = undefined;
    }
  }

  /** Dials, says CONNECT and subscribes, all within the timeout. */
  async #open(signal: AbortSignal): Promise<MqttConnection> {
    const { clock, dial, onPacket } = this.#parts;
    const { connectTimeoutMs } = this.#settings;
    const attempt = new AbortController();
    const forget = onAbort(signal, () => attempt.abort(new MesoliteError('UNAVAILABLE', 'the link was stopped')));
    const cancel = clock.after(connectTimeoutMs, () => {
      attempt.abort(new MesoliteError('TIMED_OUT', `no connection to the broker within ${connectTimeoutMs} ms`));
    });
    try {
      const stream = await dial(attempt.signal);
      const keepaliveSeconds = Math.min(this.#settings.keepaliveSeconds(), maxKeepaliveSeconds);
      const onMessage: MessageHandler = (topic, payload) => {
        this.#received++;
        this.#handlers.deliver(topic, payload);
      };
      const connection = new MqttConnection(stream, { ...this.#settings, keepaliveSeconds }, onMessage, onPacket);
      const unhook = onAbort(attempt.signal, () => connection.destroy(attempt.signal.reason));
      await connection.accepted();
      this.#connection = connection;
      await this.#subscribe(connection, this.#handlers.filters);
      unhook();
      return connection;
    } catch (error) {
      // how the attempt was ended says more than what that led to
      throw attempt.signal.aborted ? attempt.signal.reason : error;
    } finally {
      cancel();
      forget();
    }
  }

  async #subscribe(connection: MqttConnection, filters: readonly string[]): Promise<void> {
    if (filters.length === 0) return;
    const refused = await connection.subscribe(filters);
    if (refused.length === 0) return;
    this.#parts.log.warn('the broker refuses subscriptions', { filters: refused });
    this.#parts.onNotGranted?.(refused);
  }

  #close(connection: MqttConnection): void {
    const { clock } = this.#parts;
    const cancel = clock.after(this.#settings.closeTimeoutMs, () => {
      connection.destroy(new MesoliteError('TIMED_OUT', 'the broker did not answer in time'));
    });
    void connection.ended.finally(cancel);
    connection.close();
  }
}

function unlessAborted(work: Promise<void>, topic: string, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => {
      reject(new MesoliteError('UNAVAILABLE', `${topic}: given up before it was sent`, { cause: signal.reason }));
    });
    work.finally(forget).then(resolve, reject);
  });
}

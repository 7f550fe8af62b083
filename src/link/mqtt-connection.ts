import { Buffer } from 'node:buffer';
import type { Duplex } from 'node:stream';
// the client alone: the package's main entry also loads WebSocket, SOCKS and its command line (up to 5 MB of RSS)
import mqttClient, { type IClientOptions } from 'mqtt/lib/client';
import type { Packet } from 'mqtt-packet';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { PacketGuard } from '../model/packet-guard.ts';
import type { MessageHandler } from './link.ts';
import { type CountedPacket, countPacket } from './packets.ts';

type MqttClient = InstanceType<typeof mqttClient.default>;

/** What the broker tells the others when this connection ends without a goodbye. */
export interface LastWill {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: 0 | 1;
}

export interface MqttConnectionSettings {
  readonly clientId: string;
  readonly username?: string;
  readonly will?: LastWill;
  readonly keepaliveSeconds: number;
  readonly connectTimeoutMs: number;
  /** The longest packet that is taken; a longer one ends the connection. */
  readonly maxReceiveBytes: number;
}

/** One MQTT session over one stream: it begins with CONNECT, and when it has ended, whatever the reason, it is of no more use. */
export class MqttConnection {
  readonly #client: MqttClient;
  readonly #stream: Duplex;
  /** Settles with the reason when the connection is over. */
  readonly ended: Promise<MesoliteError>;
  /** What to call when the connection ends: the client's own callbacks do not all come then. */
  readonly #waiting = new Set<(error: MesoliteError) => void>();
  #failure: MesoliteError | undefined;

  constructor(
    stream: Duplex,
    settings: MqttConnectionSettings,
    onMessage: MessageHandler,
    onPacket?: (packet: CountedPacket) => void,
  ) {
    this.#stream = stream;
    this.#client = new mqttClient.default(() => stream, clientOptions(settings));
    this.#client.on('error', error => this.destroy(asRefusal(error)));
    this.#client.on('message', (topic, payload) => {
      // what came in one piece with a packet that breaks the rules
      if (this.#failure === undefined) onMessage(topic, payload);
    });
    if (onPacket !== undefined) {
      const count = (packet: Packet) => onPacket(countPacket(packet));
      this.#client.on('packetsend', count);
      this.#client.on('packetreceive', count);
    }
    this.ended = new Promise(resolve => {
      this.#client.once('close', () => {
        this.#failure ??= new MesoliteError('UNAVAILABLE', 'the broker closed the connection');
        for (const lose of this.#waiting) lose(this.#failure);
        resolve(this.#failure);
      });
    });
    const guard = new PacketGuard(settings.maxReceiveBytes);
    stream.on('data', (chunk: Uint8Array) => {
      if (guard.accept(chunk)) return;
      this.destroy(new MesoliteError('TOO_LARGE', `a packet of more than ${settings.maxReceiveBytes} bytes came in`));
    });
    this.#client.connect();
  }

  /** Resolves when the broker has accepted the session; throws FORBIDDEN or UNAVAILABLE when it has not. */
  accepted(): Promise<void> {
    return this.#untilDone(done => this.#client.once('connect', () => done()));
  }

  /** Throws UNAVAILABLE when the connection ends, why ever, before the message is handed over (QoS 0) or acknowledged (QoS 1). */
  async publish(topic: string, payload: Uint8Array, qos: 0 | 1, retain: boolean): Promise<void> {
    const bytes = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
    try {
      await this.#untilDone(done => this.#client.publish(topic, bytes, { qos, retain }, done));
    } catch (cause) {
      throw new MesoliteError('UNAVAILABLE', `${topic}: the link went down: ${messageOf(cause)}`, { cause });
    }
  }

  /**
   * Subscribes in one packet, so that the broker sends the retained messages of all one after the other. Returns the filters that it
   * did not grant.
   */
  async subscribe(filters: readonly string[]): Promise<string[]> {
    let granted: readonly unknown[] = [];
    await this.#untilDone(done => {
      this.#client.subscribe([...filters], { qos: 1 }, (error, _subscriptions, packet) => {
        granted = packet?.granted ?? [];
        // an answer that refuses some of them is an error to the client
        done(granted.length === filters.length ? null : error);
      });
    });
    return filters.filter((_filter, i) => granted[i] === 128);
  }

  unsubscribe(filter: string): Promise<void> {
    return this.#untilDone(done => this.#client.unsubscribe(filter, done));
  }

  /** Lets what is under way be acknowledged, says goodbye, so that the last will is not told, and closes. */
  close(): void {
    this.#client.end();
  }

  /** Closes at once. */
  destroy(reason: MesoliteError): void {
    this.#fail(reason);
    this.#stream.destroy();
  }

  #fail(error: MesoliteError): void {
    this.#failure ??= error;
  }

  #untilDone(begin: (done: (error?: Error | null) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const finish = (error?: Error | null) => {
        this.#waiting.delete(finish);
        if (error) reject(error);
        else resolve();
      };
      this.#waiting.add(finish);
      begin(finish);
    });
  }
}

function clientOptions(settings: MqttConnectionSettings): IClientOptions {
  const { clientId, username, will, keepaliveSeconds, connectTimeoutMs } = settings;
  return {
    clientId,
    ...(username === undefined ? {} : { username }),
    ...(will === undefined ? {} : { will: { ...will, payload: Buffer.from(will.payload), retain: false } }),
    protocolVersion: 4,
    clean: true,
    keepalive: keepaliveSeconds,
    connectTimeout: connectTimeoutMs,
    // one client, one connection: the link decides when there is another
    manualConnect: true,
    reconnectPeriod: 0,
    resubscribe: false,
    queueQoSZero: false,
    timerVariant: 'native',
    // mqtt-packet would build all 65,536 numbers: 18 MB
    writeCache: false,
  };
}

/** A refused CONNECT carries the return code of MQTT 3.1.1, 3.2.2.3. */
function asRefusal(cause: Error): MesoliteError {
  const code = 'code' in cause ? cause.code : undefined;
  if (code === 2) return new MesoliteError('FORBIDDEN', 'the broker refuses this client id', { cause });
  if (code === 4) return new MesoliteError('FORBIDDEN', 'the broker does not know this user', { cause });
  if (code === 5) return new MesoliteError('FORBIDDEN', 'the broker refuses this client', { cause });
  return new MesoliteError('UNAVAILABLE', messageOf(cause), { cause });
}

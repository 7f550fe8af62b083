import { Buffer } from 'node:buffer';
import { Readable } from 'node:stream';
import { MesoliteError } from '../base/errors.ts';

/** A retained message as aedes stores and sends it. */
export interface RetainedPacket {
  readonly topic: string;
  readonly payload: string | Uint8Array;
  readonly qos: number;
  readonly retain: boolean;
}

export interface RetainedBounds {
  readonly maxMessages: number;
  readonly maxBytes: number;
}

/**
 * Retained messages by exact topic, behind aedes' persistence interface. A SUBSCRIBE reads its own topic and nothing else (aedes'
 * own store tries every retained message); a wildcard reads none. Sessions end with their connection, so there is nothing else to persist:
 * the rest of the interface answers as for an empty store.
 */
export class Retained {
  readonly #bounds: RetainedBounds;
  readonly #packets = new Map<string, RetainedPacket>();
  #bytes = 0;

  constructor(bounds: RetainedBounds) {
    this.#bounds = bounds;
  }

  get size(): number {
    return this.#packets.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(topic: string): RetainedPacket | undefined {
    return this.#packets.get(topic);
  }

  /** Keeps a message, or forgets the topic's when it is empty; throws QUEUE_FULL at the bound, and keeps what it had. */
  store(packet: RetainedPacket): void {
    const { topic } = packet;
    // a copy: the parser's bytes are a window on a larger chunk
    const payload = Buffer.from(packet.payload);
    const freed = this.#packets.get(topic)?.payload.length;
    const bytes = this.#bytes - (freed ?? 0) + payload.length;
    if (payload.length === 0) {
      this.#packets.delete(topic);
    } else {
      this.#check(bytes, freed === undefined ? this.size + 1 : this.size);
      this.#packets.set(topic, { topic, payload, qos: packet.qos, retain: true });
    }
    this.#bytes = bytes;
  }

  #check(bytes: number, messages: number): void {
    const { maxBytes, maxMessages } = this.#bounds;
    if (bytes > maxBytes || messages > maxMessages) {
      throw new MesoliteError(
        'QUEUE_FULL',
        `retained messages: ${messages} of ${bytes} bytes, at most ${maxMessages} of ${maxBytes} are kept`,
      );
    }
  }

  // --- what aedes calls

  async setup(): Promise<void> {}

  async storeRetained(packet: RetainedPacket): Promise<void> {
    this.store(packet);
  }

  createRetainedStreamCombi(filters: readonly string[]): Readable {
    return Readable.from(filters.flatMap(filter => this.get(filter) ?? []));
  }

  async cleanSubscriptions(): Promise<void> {}

  async subscriptionsByTopic(): Promise<[]> {
    return [];
  }

  async outgoingEnqueueCombi(): Promise<void> {}

  outgoingStream(): Readable {
    return Readable.from([]);
  }

  async outgoingClearMessageId(): Promise<void> {}

  async incomingGetPacket(): Promise<void> {}

  async putWill(): Promise<void> {}

  async delWill(): Promise<void> {}

  streamWill(): Readable {
    return Readable.from([]);
  }
}

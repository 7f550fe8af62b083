import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { TokenBucket } from '../base/token-bucket.ts';
import type { Peer } from '../model/identity.ts';
import { PacketGuard } from '../model/packet-guard.ts';
import type { Identity, Refusal, RefusalReason } from './admission.ts';
import type { ClientRates } from './limits.ts';

/** What carries MQTT to the broker: `stream` has its packets, and is `tls` itself unless there is a WebSocket between. */
export interface Transport {
  readonly stream: Duplex;
  readonly tls: TLSSocket;
}

/** What WebSocket may add to a CONNECT. */
const frameBytes = 1024;

/**
 * One error for all: without it Node makes one, with its stack, for each piece that waits to be written, and a hundred frozen clients
 * that are cut off together have a quarter of a million (0.7 s in which nobody is served; `bench:wire`).
 */
const gone = new Error('the connection was cut off');

/** One connection to the broker, from the TLS handshake to the end. */
export class Connection {
  readonly stream: Duplex;
  readonly tls: TLSSocket;
  readonly peer: Peer | undefined;
  readonly address: string;
  /** Filters that were granted. */
  readonly filters = new Set<string>();
  /** Set by a CONNECT that was admitted. */
  identity: Identity | undefined;
  /** Set by a CONNECT that was not. */
  refusal: Refusal | undefined;
  /** A refused subscription has been logged. */
  isWarned = false;
  /** Takes back the deadline for CONNECT. */
  stopDeadline: () => void = () => {};
  readonly #guard: PacketGuard;
  #strangerBytes = 0;
  #cut: RefusalReason | undefined;
  /** Bytes given to aedes in this turn of the event loop: they reach the socket at its end. */
  #handed = 0;
  #messages: TokenBucket | undefined;
  #bytes: TokenBucket | undefined;
  #packets = 0;

  constructor({ stream, tls }: Transport, peer: Peer | undefined, maxConnectBytes: number) {
    this.stream = stream;
    this.tls = tls;
    this.peer = peer;
    this.address = tls.remoteAddress ?? 'unknown';
    this.#guard = new PacketGuard(maxConnectBytes);
  }

  get isCut(): boolean {
    return this.#cut !== undefined;
  }

  get isWebSocket(): boolean {
    return this.stream !== this.tls;
  }

  /** What has been given to the connection and not yet to the network. */
  get waitingBytes(): number {
    return this.stream.writableLength + this.#handed;
  }

  /** Ends the connection; false when it was ended already. */
  cut(reason: RefusalReason): boolean {
    if (this.#cut !== undefined) return false;
    this.#cut = reason;
    this.destroy();
    return true;
  }

  destroy(): void {
    this.stream.destroy(gone);
    this.tls.destroy(gone);
  }

  /** May so many bytes more be sent to the client, when at most `limitBytes` may wait for it? */
  hasRoom(bytes: number, limitBytes: number): boolean {
    if (this.#handed === 0) {
      setImmediate(() => {
        this.#handed = 0;
      });
    }
    this.#handed += bytes;
    return this.waitingBytes <= limitBytes;
  }

  /** From now on, since it is known who it is, these bounds hold; `now` is monotonic. */
  limit(packetBytes: number, { messages, bytes }: ClientRates, now: number): void {
    this.#guard.limitBytes = packetBytes;
    this.#messages = new TokenBucket(messages, now);
    this.#bytes = new TokenBucket(bytes, now);
    this.#packets = this.#guard.packets;
  }

  /** Counts what came over TLS; the reason to end the connection, if there is one. */
  countBytes(chunk: Uint8Array, now: number): 'too-large' | 'rate' | undefined {
    if (this.#bytes !== undefined) return this.#bytes.take(chunk.length, now) ? undefined : 'rate';
    // a WebSocket message is kept until it is whole, and may announce much
    this.#strangerBytes += chunk.length;
    const isTooMuch = this.isWebSocket && this.#strangerBytes > this.#guard.limitBytes + frameBytes;
    return isTooMuch ? 'too-large' : undefined;
  }

  /** Counts what came as MQTT, likewise. */
  countPackets(chunk: Uint8Array, now: number): 'too-large' | 'rate' | undefined {
    if (!this.#guard.accept(chunk)) return 'too-large';
    const packets = this.#guard.packets - this.#packets;
    this.#packets = this.#guard.packets;
    return this.#messages?.take(packets, now) === false ? 'rate' : undefined;
  }
}

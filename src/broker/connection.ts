import type { TLSSocket } from 'node:tls';
import type { Peer } from '../model/identity.ts';
import { PacketGuard } from '../model/packet-guard.ts';
import type { Identity, Refusal, RefusalReason } from './admission.ts';

/** One TLS connection to the broker, from the handshake to the end. */
export class Connection {
  readonly socket: TLSSocket;
  readonly peer: Peer | undefined;
  readonly address: string;
  readonly guard: PacketGuard;
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
  #cut: RefusalReason | undefined;
  /** Bytes given to aedes in this turn of the event loop: they reach the socket at its end. */
  #handed = 0;

  constructor(socket: TLSSocket, peer: Peer | undefined, maxConnectBytes: number) {
    this.socket = socket;
    this.peer = peer;
    this.address = socket.remoteAddress ?? 'unknown';
    this.guard = new PacketGuard(maxConnectBytes);
  }

  get isCut(): boolean {
    return this.#cut !== undefined;
  }

  /** Ends the connection; false when it was ended already. */
  cut(reason: RefusalReason): boolean {
    if (this.#cut !== undefined) return false;
    this.#cut = reason;
    this.socket.destroy();
    return true;
  }

  /** May so many bytes more be sent to the client, when at most `limitBytes` may wait for it? */
  hasRoom(bytes: number, limitBytes: number): boolean {
    if (this.#handed === 0) {
      setImmediate(() => {
        this.#handed = 0;
      });
    }
    this.#handed += bytes;
    return this.socket.writableLength + this.#handed <= limitBytes;
  }
}

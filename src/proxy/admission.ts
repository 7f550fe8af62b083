import type { Socket } from 'node:net';

/** How many connections a port takes; each is one that may be in its TLS handshake. */
export interface AdmissionBounds {
  readonly connections: number;
  /** Of one address. */
  readonly ofOneSource: number;
  readonly inHandshake: number;
}

/** So many may be in their handshake however small the port's bound is. */
const fewHandshakes = 8;

/** No address may have the whole of the mesh port, nor may those who only begin. */
export function meshBounds(connections: number): AdmissionBounds {
  return {
    connections,
    ofOneSource: Math.ceil(connections / 2),
    inHandshake: Math.max(fewHandshakes, Math.ceil(connections / 4)),
  };
}

/** All tasks come from one address, and without a handshake. */
export function taskBounds(connections: number): AdmissionBounds {
  return { connections, ofOneSource: Number.POSITIVE_INFINITY, inHandshake: Number.POSITIVE_INFINITY };
}

/** Where a connection comes from, as Node's sockets tell it. */
interface Source {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
}

/** Counts how much each of many has of something that they share, so that none has more than its part. */
export class Shares {
  readonly #limit: number;
  readonly #taken = new Map<string, number>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** May it have one more? */
  hasRoom(who: string): boolean {
    return (this.#taken.get(who) ?? 0) < this.#limit;
  }

  /** False when it has all that it may have. */
  take(who: string): boolean {
    if (!this.hasRoom(who)) return false;
    this.#taken.set(who, (this.#taken.get(who) ?? 0) + 1);
    return true;
  }

  give(who: string): void {
    const taken = this.#taken.get(who) ?? 0;
    if (taken > 1) this.#taken.set(who, taken - 1);
    else this.#taken.delete(who);
  }
}

/** Who may come in by a port, so that no address takes all of it and no flood of handshakes keeps others out. */
export class Admission {
  readonly #bounds: AdmissionBounds;
  readonly #sockets = new Set<Socket>();
  readonly #shares: Shares;
  /** By address and port, the oldest first. */
  readonly #inHandshake = new Map<string, Socket>();

  constructor(bounds: AdmissionBounds) {
    this.#bounds = bounds;
    this.#shares = new Shares(bounds.ofOneSource);
  }

  get sockets(): ReadonlySet<Socket> {
    return this.#sockets;
  }

  /** Are there more than there is room for? */
  get isOverfull(): boolean {
    return this.#sockets.size > this.#bounds.connections;
  }

  /** Takes note of a connection until it closes; false when its address has as many as it may have, and it must go. */
  enter(socket: Socket): boolean {
    const source = socket.remoteAddress ?? '';
    const key = keyOf(socket);
    const hasRoom = this.#shares.take(source);
    this.#sockets.add(socket);
    this.#inHandshake.set(key, socket);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      if (this.#inHandshake.get(key) === socket) this.#inHandshake.delete(key);
      if (hasRoom) this.#shares.give(source);
    });
    if (this.#inHandshake.size > this.#bounds.inHandshake) this.#dropOldestHandshake();
    return hasRoom;
  }

  /** A handshake has ended well. */
  established(socket: Source): void {
    this.#inHandshake.delete(keyOf(socket));
  }

  /** Who is quick is done long before it is the oldest. */
  #dropOldestHandshake(): void {
    for (const [key, oldest] of this.#inHandshake) {
      this.#inHandshake.delete(key);
      oldest.destroy();
      return;
    }
  }
}

function keyOf({ remoteAddress, remotePort }: Source): string {
  return `${remoteAddress} ${remotePort}`;
}

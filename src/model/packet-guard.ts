/** A packet may come in this many pieces, and one more for each `bytesPerPiece`: each piece costs a buffer until the packet is whole. */
const freePieces = 64;
const bytesPerPiece = 256;
const maxLengthBytes = 4;

/**
 * Watches a stream of MQTT packets go by and keeps none of it: a packet must not be longer than `limitBytes`, nor be sent in crumbs.
 * It reads the fixed header alone (MQTT 3.1.1, 2.2), so that the length is judged before a parser waits for the rest.
 */
export class PacketGuard {
  /** The longest remaining length that is let through, in bytes; may be changed between packets. */
  limitBytes: number;
  #packets = 0;
  /** Bytes of the present packet that are still to come; undefined while its fixed header is incomplete. */
  #rest: number | undefined;
  #length = 0;
  #lengthBytes = -1;
  #pieces = 0;
  #maxPieces = freePieces;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Packets that have begun so far. */
  get packets(): number {
    return this.#packets;
  }

  /** False when the stream breaks the rules: nothing after that can be trusted. */
  accept(chunk: Uint8Array): boolean {
    if (++this.#pieces > this.#maxPieces) return false;
    let at = 0;
    while (at < chunk.length) {
      if (this.#rest === undefined) {
        if (!this.#readHeader(chunk[at++] ?? 0)) return false;
      } else {
        const step = Math.min(this.#rest, chunk.length - at);
        at += step;
        this.#rest -= step;
      }
      if (this.#rest === 0) this.#nextPacket();
    }
    return true;
  }

  #readHeader(byte: number): boolean {
    this.#lengthBytes++;
    // the first byte is type and flags: the parser's business
    if (this.#lengthBytes === 0) {
      this.#packets++;
      return true;
    }
    this.#length += (byte & 0x7f) * 128 ** (this.#lengthBytes - 1);
    if (this.#length > this.limitBytes) return false;
    if ((byte & 0x80) !== 0) return this.#lengthBytes < maxLengthBytes;
    this.#rest = this.#length;
    this.#maxPieces = freePieces + Math.ceil(this.#length / bytesPerPiece);
    return true;
  }

  #nextPacket(): void {
    this.#rest = undefined;
    this.#length = 0;
    this.#lengthBytes = -1;
    this.#pieces = 0;
    this.#maxPieces = freePieces;
  }
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import { MesoliteError } from '../../base/errors.ts';

/** Counts files that are sent at once, of all and of one address. */
export class Transfers {
  readonly #most: { readonly all: number; readonly ofAddress: number };
  readonly #countOf = new Map<string, number>();
  #count = 0;

  constructor(most: { readonly all: number; readonly ofAddress: number }) {
    this.#most = most;
  }

  /** Counts one from now until its response or its connection ends, which aborts the signal. Throws UNAVAILABLE at a bound. */
  begin({ socket }: IncomingMessage, response: ServerResponse): AbortSignal {
    const address = socket.remoteAddress ?? '';
    const ofAddress = this.#countOf.get(address) ?? 0;
    // who has left already is not told of it again
    const isGone = socket.destroyed || response.destroyed;
    if (isGone || this.#count >= this.#most.all || ofAddress >= this.#most.ofAddress) {
      throw new MesoliteError('UNAVAILABLE', `${this.#count} files are being sent, ${ofAddress} to you: try again`);
    }
    this.#count++;
    this.#countOf.set(address, ofAddress + 1);
    const over = new AbortController();
    const end = (): void => {
      response.off('close', end);
      socket.off('close', end);
      this.#count--;
      const left = (this.#countOf.get(address) ?? 1) - 1;
      if (left === 0) this.#countOf.delete(address);
      else this.#countOf.set(address, left);
      over.abort();
    };
    // one that waits behind another on its connection does not hear that this has ended
    response.once('close', end);
    socket.once('close', end);
    return over.signal;
  }
}

import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import { type OutputTaken, outputBounds } from '../model/output.ts';
import type { Sender, UpBody } from './sender.ts';

/** Outputs that are followed at once; their unacknowledged pieces find room among what waits for the master. */
export const maxOutputStreams = 8;

type Piece = Omit<UpBody<'log'>, 'id' | 'number'>;

/** The way of an output to whoever follows it, for as long as the master says that somebody does. */
export interface OutputStream {
  /** Aborts when nobody listens any more. */
  readonly signal: AbortSignal;
  /** May another piece be said before one is acknowledged? */
  readonly hasRoom: boolean;
  /** Milliseconds since the last piece. */
  readonly silentMs: number;
  say(piece: Piece): void;
  /** True as soon as there is room, false when nobody listens any more. */
  untilRoom(): Promise<boolean>;
  close(): void;
}

export interface OutputStreams {
  readonly size: number;
  /** Throws QUEUE_FULL. */
  open(id: string): OutputStream;
  /** The master has taken so much and is still there, or wants no more. */
  acknowledge(taken: readonly OutputTaken[]): void;
}

/** `signal` ends all of them. */
export function makeOutputStreams(
  { sender, clock }: { readonly sender: Sender; readonly clock: Clock },
  signal: AbortSignal,
): OutputStreams {
  const streams = new Map<string, LeasedStream>();
  return {
    get size() {
      return streams.size;
    },
    open(id) {
      if (streams.size >= maxOutputStreams) {
        throw new MesoliteError('QUEUE_FULL', `node ${sender.node} has ${maxOutputStreams} outputs followed already`);
      }
      const stream = new LeasedStream({ sender, clock }, id, () => streams.delete(id));
      const forget = onAbort(signal, () => stream.close());
      onAbort(stream.signal, forget);
      streams.set(id, stream);
      return stream;
    },
    acknowledge(all) {
      for (const { id, taken, end } of all) streams.get(id)?.renew(taken, end === true);
    },
  };
}

class LeasedStream implements OutputStream {
  readonly #parts: { readonly sender: Sender; readonly clock: Clock };
  readonly #id: string;
  readonly #ending = new AbortController();
  readonly #onClosed: () => void;
  #said = 0;
  #taken = 0;
  #saidAt: number;
  #cancelLease: () => void = () => {};
  #waiting: (() => void)[] = [];

  constructor(parts: { readonly sender: Sender; readonly clock: Clock }, id: string, onClosed: () => void) {
    this.#parts = parts;
    this.#id = id;
    this.#onClosed = onClosed;
    this.#saidAt = parts.clock.monotonic();
    this.renew(0, false);
  }

  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get hasRoom(): boolean {
    return this.#said - this.#taken < outputBounds.window;
  }

  get silentMs(): number {
    return this.#parts.clock.monotonic() - this.#saidAt;
  }

  say(piece: Piece): void {
    if (this.signal.aborted) return;
    this.#saidAt = this.#parts.clock.monotonic();
    this.#parts.sender.send('log', { ...piece, id: this.#id, number: ++this.#said });
  }

  async untilRoom(): Promise<boolean> {
    while (!this.signal.aborted && !this.hasRoom) {
      await new Promise<void>(resolve => {
        this.#waiting.push(resolve);
      });
    }
    return !this.signal.aborted;
  }

  renew(taken: number, isEnd: boolean): void {
    if (isEnd) {
      this.close();
      return;
    }
    this.#taken = Math.min(this.#said, Math.max(this.#taken, taken));
    this.#cancelLease();
    this.#cancelLease = this.#parts.clock.after(outputBounds.leaseMs, () => this.close());
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  close(): void {
    if (this.signal.aborted) return;
    this.#cancelLease();
    this.#ending.abort();
    this.#onClosed();
    this.#wake();
  }
}

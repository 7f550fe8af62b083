import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { onAbort } from '../base/signal.ts';
import type { Ask, LogChunk } from '../model/message.ts';
import { outputBounds } from '../model/output.ts';
import { masterTimes } from './config.ts';
import type { Outgoing } from './outgoing.ts';

/** Outputs that are read at once, on all nodes. */
export const maxOutputStreams = 64;
/** What an honest node says before it is told to go on, and once more. */
const maxWaiting = 2 * outputBounds.window;

type OnPiece = (piece: LogChunk) => void | Promise<void>;

/** Reads what nodes say for as long as somebody wants it: each piece is acknowledged when it has been taken. */
export interface OutputStreams {
  /**
   * Asks `node`, hands on each piece, and resolves after the last. Throws UNAVAILABLE when too many are read, the node falls silent or a
   * piece is lost; TIMED_OUT when it does not answer at all; what the node says against it; whatever `onPiece` throws. `signal` ends it.
   */
  read(node: string, ask: (id: string) => Ask, onPiece: OnPiece, signal: AbortSignal): Promise<void>;
  /** Says whether it was for one of these. */
  onPiece(node: string, piece: LogChunk): boolean;
}

export function makeOutputStreams(parts: {
  readonly outgoing: Pick<Outgoing, 'ask' | 'ack'>;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): OutputStreams {
  const { outgoing, clock, newId, inBackground } = parts;
  const readings = new Map<string, Reading>();
  return {
    async read(node, ask, onPiece, signal) {
      if (signal.aborted) throw nobodyListens();
      if (readings.size >= maxOutputStreams) throw new MesoliteError('UNAVAILABLE', 'too many outputs are being read');
      const id = newId();
      const tell = (taken: number, end: boolean) =>
        inBackground('acknowledging output', outgoing.ack(node, { output: [{ id, taken, ...(end && { end }) }] }));
      const reading = new Reading({ node, clock, tell, onPiece });
      readings.set(id, reading);
      const forget = onAbort(signal, () => reading.fail(nobodyListens()));
      try {
        await Promise.all([reading.done, outgoing.ask(node, ask(id))]);
      } finally {
        forget();
        reading.fail(nobodyListens());
        readings.delete(id);
      }
    },
    onPiece(node, piece) {
      const reading = readings.get(piece.id);
      if (reading?.node !== node) return false;
      reading.take(piece);
      return true;
    },
  };
}

interface ReadingParts {
  readonly node: string;
  readonly clock: Clock;
  readonly tell: (taken: number, end: boolean) => void;
  readonly onPiece: OnPiece;
}

class Reading {
  readonly #parts: ReadingParts;
  readonly done: Promise<void>;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #isOver = false;
  #received = 0;
  #taken = 0;
  /** One piece after the other. */
  #work = Promise.resolve();
  #cancelSilence: () => void = () => {};
  #cancelRenewal: () => void = () => {};

  constructor(parts: ReadingParts) {
    this.#parts = parts;
    const { promise, resolve, reject } = withResolvers();
    [this.done, this.#resolve, this.#reject] = [promise, resolve, reject];
    this.#expect(masterTimes.logAnswerMs, 'TIMED_OUT', 'did not answer');
    this.#cancelRenewal = parts.clock.after(outputBounds.renewMs, () => this.#renew());
  }

  get node(): string {
    return this.#parts.node;
  }

  take(piece: LogChunk): void {
    if (this.#isOver) return;
    this.#cancelSilence();
    this.#expect(outputBounds.leaseMs, 'UNAVAILABLE', `has said nothing for ${outputBounds.leaseMs / 1000} s`);
    if (piece.error !== undefined) {
      this.fail(new MesoliteError(piece.code ?? 'NOT_FOUND', piece.error));
      return;
    }
    const number = piece.number ?? this.#received + 1;
    // at least once: a piece may come twice
    if (number <= this.#received) return;
    if (number > this.#received + 1 || number - this.#taken > maxWaiting) {
      this.fail(new MesoliteError('UNAVAILABLE', `a part of what node ${this.node} said was lost on the way`));
      return;
    }
    this.#received = number;
    this.#work = this.#work.then(() => this.#hand(piece, number)).catch(error => this.fail(error));
  }

  /** Nothing happens when it is over. */
  fail(error: unknown): void {
    if (!this.#end()) return;
    this.#parts.tell(this.#taken, true);
    this.#reject(error);
  }

  async #hand(piece: LogChunk, number: number): Promise<void> {
    if (this.#isOver) return;
    await this.#parts.onPiece(piece);
    this.#taken = number;
    if (!piece.end) this.#renew();
    else if (this.#end()) this.#resolve();
  }

  #renew(): void {
    if (this.#isOver) return;
    this.#parts.tell(this.#taken, false);
    this.#cancelRenewal();
    this.#cancelRenewal = this.#parts.clock.after(outputBounds.renewMs, () => this.#renew());
  }

  #expect(withinMs: number, code: 'TIMED_OUT' | 'UNAVAILABLE', what: string): void {
    const error = new MesoliteError(code, `node ${this.node} ${what}: it may be offline`);
    this.#cancelSilence = this.#parts.clock.after(withinMs, () => this.fail(error));
  }

  #end(): boolean {
    if (this.#isOver) return false;
    this.#isOver = true;
    this.#cancelSilence();
    this.#cancelRenewal();
    return true;
  }
}

function withResolvers() {
  let resolve: () => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    [resolve, reject] = [yes, no];
  });
  return { promise, resolve, reject };
}

function nobodyListens(): MesoliteError {
  return new MesoliteError('UNAVAILABLE', 'nobody reads the output any more');
}

/** How a stream ended, for its reader. */
export function endOf(error: unknown): { readonly code: string; readonly message: string } {
  return { code: error instanceof MesoliteError ? error.code : 'INTERNAL', message: messageOf(error) };
}

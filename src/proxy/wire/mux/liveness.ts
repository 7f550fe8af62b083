import { secondMs } from '../../../base/clock.ts';
import { type Deadlines, never, type Timed } from '../../deadlines.ts';

/** A connection, as far as it matters to whether its other side is there. */
export interface Watched {
  /** How many streams are open. */
  readonly size: number;
  /** Has the other side say something. */
  ask(): void;
  /** Says something to the other side. */
  say(): void;
  /** Begins nothing more. */
  drain(): void;
  destroy(): void;
}

/** After so long without a byte the other side is asked whether it is there; a connection without streams is closed then. */
const quietMs = 20 * secondMs;
/** Who has sent something is owed a word within so long, or asks: the other node may have lost its power. */
const owedMs = 5 * secondMs;
/** So long after the question nothing new is begun here: it has to open a connection, and goes elsewhere if that cannot be done. */
const doubtMs = 3 * secondMs;
/** And so long an answer may take: a mapping of a NAT may have gone, with no word to either side. */
const pongMs = 10 * secondMs;
/** Of much that has come is said so often that it has: what a slow link still carries is in the way of a question. */
const wordMs = 2 * secondMs;
const wordBytes = 8 * 1024;

/** Finds out whether the other side of a connection is there: asks, doubts, and gives the connection up. */
export class Liveness implements Timed {
  deadlineAt: number;
  readonly #connection: Watched;
  readonly #deadlines: Deadlines;
  #asked: 'no' | 'yes' | 'in vain' = 'no';
  /** Nothing has come since something was sent. */
  #isOwed = false;
  /** What has come since the last word about it, and when that was. */
  #unsaidBytes = 0;
  #saidAt = Number.NEGATIVE_INFINITY;

  constructor(connection: Watched, deadlines: Deadlines) {
    this.#connection = connection;
    this.#deadlines = deadlines;
    this.deadlineAt = deadlines.now + quietMs;
    deadlines.add(this);
  }

  /** Something has come. */
  heard(): void {
    this.deadlineAt = this.#deadlines.now + quietMs;
    this.#asked = 'no';
    this.#isOwed = false;
  }

  /** Something was sent that is answered. */
  sent(): void {
    if (this.#isOwed) return;
    this.#isOwed = true;
    if (this.#asked === 'no') this.deadlineAt = Math.min(this.deadlineAt, this.#deadlines.now + owedMs);
  }

  /** So many bytes have come, of which the other side hears now and then. */
  sayFor(bytes: number): void {
    this.#unsaidBytes += bytes;
    const { now } = this.#deadlines;
    if (this.#unsaidBytes < wordBytes || now - this.#saidAt < wordMs) return;
    this.#unsaidBytes = 0;
    this.#saidAt = now;
    this.#connection.say();
  }

  /** The connection has closed. */
  end(): void {
    this.deadlineAt = never;
    this.#deadlines.delete(this);
  }

  onDeadline(): void {
    // an answer may be here, unread: this process may have been kept from it itself
    if (this.#asked !== 'no') setImmediate(this.#judge);
    else if (this.#connection.size === 0 && !this.#isOwed) this.#doubt();
    else {
      this.#asked = 'yes';
      this.deadlineAt = this.#deadlines.now + doubtMs;
      this.#connection.ask();
    }
  }

  readonly #judge = (): void => {
    if (this.#asked === 'yes') this.#doubt();
    else if (this.#asked === 'in vain') this.#connection.destroy();
  };

  #doubt(): void {
    this.#asked = 'in vain';
    this.deadlineAt = this.#deadlines.now + pongMs - doubtMs;
    this.#connection.drain();
  }
}

import type { AccessRecord } from '../model/access.ts';
import type { AuditMark } from '../model/audit-chain.ts';
import { droppedReason, type Missing } from './audit-backlog.ts';
import type { NodeClock } from './clock.ts';

/** What the chain of this start says beside its records, until it is written: that it began or ended, when the time was learnt, what is missing. */
export class AuditMarks {
  readonly #clock: Pick<NodeClock, 'now' | 'monotonic' | 'known'>;
  readonly #startedAt: number;
  #isTimeKnown: boolean;
  #waiting: AuditMark[] = [];

  constructor(clock: Pick<NodeClock, 'now' | 'monotonic' | 'known'>) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.#isTimeKnown = clock.known;
  }

  /** To be written before the records that wait. */
  get waiting(): readonly AuditMark[] {
    return this.#waiting;
  }

  /** The first so many are written. */
  written(count: number): void {
    this.#waiting.splice(0, count);
  }

  start(allowed: number): void {
    this.#waiting.push({ mark: 'start', ...this.#when(), allowed });
  }

  end(): void {
    this.#waiting.push({ mark: 'end', ...this.#when() });
  }

  learnTime(): void {
    if (this.#isTimeKnown || !this.#clock.known) return;
    this.#isTimeKnown = true;
    this.#waiting.push({ mark: 'clock', at: this.#clock.now(), sinceStartMs: this.#sinceStart() });
  }

  /** What is dropped behind what was dropped before is one gap. */
  miss(missing: Missing): void {
    const before = this.#waiting.findIndex(
      mark =>
        mark.mark === 'gap' && mark.reason === droppedReason && mark.last !== null && mark.last + 1 === missing.first,
    );
    const gap: AuditMark = { mark: 'gap', ...this.#when(), ...missing };
    const [joined] = before < 0 || missing.reason !== droppedReason ? [] : this.#waiting.splice(before, 1);
    this.#waiting.push(
      joined?.mark === 'gap' ? { ...gap, first: joined.first, count: (joined.count ?? 0) + (missing.count ?? 0) } : gap,
    );
  }

  /** The mark of records that found no room, to be written behind those that did. */
  lost(count: number): AuditMark {
    const reason = 'they came faster than they could be written';
    return { mark: 'gap', ...this.#when(), reason, first: null, last: null, count };
  }

  /** A record with what is to be said of its time. */
  timed(record: AccessRecord): AccessRecord {
    return this.#isTimeKnown ? record : { ...record, sinceStartMs: this.#sinceStart() };
  }

  #when(): { readonly at: number; readonly sinceStartMs?: number } {
    const at = this.#clock.now();
    return this.#isTimeKnown ? { at } : { at, sinceStartMs: this.#sinceStart() };
  }

  #sinceStart(): number {
    return Math.round(this.#clock.monotonic() - this.#startedAt);
  }
}

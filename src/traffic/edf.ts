/**
 * Earliest deadline first, as Envoy schedules weighted hosts: each has a deadline on a clock of its own, the earliest is next, and goes
 * 1/weight further back. So turns come smoothly in proportion to weights that may change from turn to turn. One that cannot have its turn
 * is set aside, so that it neither holds up the others nor has turns to catch up with. No allocation after the start.
 */
export class Edf {
  readonly #deadlines: Float64Array;
  /** Indexes: those that take turns as a binary heap, the earliest at 0, and behind `#size` those that are set aside. */
  readonly #heap: Uint16Array;
  #size: number;
  /** The deadline of the last turn. */
  #now = 0;

  /** `first` gives each of `size` (at most 65535) its first deadline. */
  constructor(size: number, first: (index: number) => number) {
    this.#deadlines = Float64Array.from({ length: size }, (_, i) => first(i));
    this.#heap = Uint16Array.from({ length: size }, (_, i) => i).sort((a, b) => this.#deadline(a) - this.#deadline(b));
    this.#size = size;
  }

  /** Whose turn it is; -1 when all are set aside. */
  get next(): number {
    return this.#size === 0 ? -1 : (this.#heap[0] ?? -1);
  }

  get hasAside(): boolean {
    return this.#size < this.#heap.length;
  }

  /** The one whose turn it was goes back by 1/weight. */
  advance(weight: number): void {
    const moved = this.#heap[0];
    if (moved === undefined) return;
    this.#now = this.#deadline(moved);
    this.#deadlines[moved] = this.#now + 1 / weight;
    this.#sink(moved);
  }

  /** The one whose turn it is takes none until it is taken back. */
  setAside(): void {
    const heap = this.#heap;
    const aside = this.next;
    if (aside < 0) return;
    this.#size--;
    const last = heap[this.#size] ?? 0;
    heap[this.#size] = aside;
    if (this.#size > 0) this.#sink(last);
  }

  /** Takes back those of which `isBack` holds; each waits a whole turn of its weight, as one that has just had one. */
  takeBack(isBack: (index: number) => boolean, weightOf: (index: number) => number): void {
    const heap = this.#heap;
    for (let at = this.#size; at < heap.length; at++) {
      const index = heap[at] ?? 0;
      if (!isBack(index)) continue;
      heap[at] = heap[this.#size] ?? 0;
      this.#deadlines[index] = this.#now + 1 / weightOf(index);
      this.#rise(index, this.#size++);
    }
  }

  /** Puts one into the place of the earliest, or where it belongs below it. */
  #sink(index: number): void {
    const heap = this.#heap;
    const deadline = this.#deadline(index);
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      if (left >= this.#size) break;
      const child = right < this.#size && this.#at(right) < this.#at(left) ? right : left;
      if (this.#at(child) >= deadline) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = index;
  }

  /** Puts one into a place that is free, or where it belongs above it. */
  #rise(index: number, place: number): void {
    const heap = this.#heap;
    const deadline = this.#deadline(index);
    let at = place;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#at(parent) <= deadline) break;
      heap[at] = heap[parent] ?? 0;
      at = parent;
    }
    heap[at] = index;
  }

  #at(place: number): number {
    return this.#deadline(this.#heap[place] ?? 0);
  }

  #deadline(index: number): number {
    return this.#deadlines[index] ?? 0;
  }
}

/**
 * Earliest deadline first, as Envoy schedules weighted hosts: each has a deadline on a clock of its own, the earliest is next, and goes
 * 1/weight further back. So turns come smoothly in proportion to weights that may change from turn to turn. No allocation after the start.
 */
export class Edf {
  readonly #deadlines: Float64Array;
  /** A binary heap of indexes: the earliest at 0. */
  readonly #heap: Uint16Array;

  /** `first` gives each of `size` (at most 65535) its first deadline. */
  constructor(size: number, first: (index: number) => number) {
    this.#deadlines = Float64Array.from({ length: size }, (_, i) => first(i));
    this.#heap = Uint16Array.from({ length: size }, (_, i) => i).sort((a, b) => this.#deadline(a) - this.#deadline(b));
  }

  /** Whose turn it is. */
  get next(): number {
    return this.#heap[0] ?? -1;
  }

  /** The one whose turn it was goes back by 1/weight. */
  advance(weight: number): void {
    const heap = this.#heap;
    const moved = heap[0];
    if (moved === undefined) return;
    const deadline = this.#deadline(moved) + 1 / weight;
    this.#deadlines[moved] = deadline;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      if (left >= heap.length) break;
      const child = right < heap.length && this.#at(right) < this.#at(left) ? right : left;
      if (this.#at(child) >= deadline) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = moved;
  }

  #at(place: number): number {
    return this.#deadline(this.#heap[place] ?? 0);
  }

  #deadline(index: number): number {
    return this.#deadlines[index] ?? 0;
  }
}

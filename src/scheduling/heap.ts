/** A binary heap: the entry that `isBefore` all others is the first. */
export class Heap<T> {
  readonly #entries: T[];
  readonly #isBefore: (a: T, b: T) => boolean;

  /** `sorted` is in order already. */
  constructor(isBefore: (a: T, b: T) => boolean, sorted: readonly T[] = []) {
    this.#isBefore = isBefore;
    this.#entries = [...sorted];
  }

  get first(): T | undefined {
    return this.#entries[0];
  }

  push(entry: T): void {
    const entries = this.#entries;
    let at = entries.length;
    entries.push(entry);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = entries[parent];
      if (above === undefined || !this.#isBefore(entry, above)) break;
      entries[at] = above;
      at = parent;
    }
    entries[at] = entry;
  }

  pop(): T | undefined {
    const entries = this.#entries;
    const first = entries[0];
    const last = entries.pop();
    if (last === undefined || entries.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      let below = entries[child];
      const right = entries[child + 1];
      if (below === undefined) break;
      if (right !== undefined && this.#isBefore(right, below)) {
        child++;
        below = right;
      }
      if (!this.#isBefore(below, last)) break;
      entries[at] = below;
      at = child;
    }
    entries[at] = last;
    return first;
  }
}

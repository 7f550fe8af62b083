/** Of one log; enough to tell the last minute from the last hour. */
const maxMarks = 24;
/** Of the older ones every second one goes when there are too many. */
const thinned = 16;
/** More than are made between two looks of who follows a log. */
const maxBacks = 32;

interface Mark {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly position: number;
}

/**
 * Where the bytes of a log are, and when they were written. They are counted from an arbitrary start on over all cuts of the file, so that
 * who reads it knows where to go on.
 */
export class LogHistory {
  #base = 0;
  #isOlderKept = true;
  #marks: Mark[] = [];
  #backs: number[] = [];
  #backCount = 0;

  /** The position of the first byte of the file; those before it are the end of `<file>.1`, if they are kept. */
  get base(): number {
    return this.#base;
  }

  get isOlderKept(): boolean {
    return this.#isOlderKept;
  }

  /** The file had `size` bytes, the last of them written by `at`. */
  note(size: number, at: number): void {
    const position = this.#base + size;
    if ((this.#marks.at(-1)?.position ?? -1) >= position) return;
    this.#marks.push({ at, position });
    if (this.#marks.length > maxMarks) this.#marks = this.#marks.filter((_, i) => i >= thinned || i % 2 === 1);
  }

  /** The file was emptied of its `size` bytes, and their end put beside it where `isKept`. */
  cut(size: number, isKept: boolean): void {
    this.#base += size;
    this.#isOlderKept = isKept;
  }

  /** The newest bytes were taken back: the file has `size` again, and what comes next has their positions. */
  takeBack(size: number): void {
    const position = this.#base + size;
    this.#marks = this.#marks.filter(mark => mark.position <= position);
    this.#backs = [...this.#backs, position].slice(-maxBacks);
    this.#backCount++;
  }

  /** How often bytes were taken back. */
  get backs(): number {
    return this.#backCount;
  }

  /** From where on bytes were taken back since `backs` was `seen`. */
  takenBackSince(seen: number): number {
    const missed = this.#backCount - seen;
    return missed === 0 ? Number.POSITIVE_INFINITY : Math.min(...this.#backs.slice(-missed));
  }

  /** Up to where the bytes from `position` on were written by one moment; undefined when they are newer than the last look. */
  markAfter(position: number): Mark | undefined {
    return this.#marks.find(mark => mark.position > position);
  }
}

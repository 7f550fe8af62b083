import type { BoardNode } from './board-node.ts';
import { Heap } from './heap.ts';

/** A node among those of its group, and a moment before which it has no room for what the group asks. */
export interface Candidate {
  readonly node: BoardNode;
  readonly notBefore: number;
}

/**
 * The nodes of a group, the one that may have room first in front. Those that nobody has looked at yet stand in their order, as
 * if they had room now: they cost nothing until it is their turn.
 */
export class Front {
  readonly #members: readonly number[];
  readonly #now: number;
  readonly #nodeAt: (index: number) => BoardNode | undefined;
  readonly #seen = new Heap<Candidate>(isSooner);
  #next = 0;

  constructor(members: readonly number[], now: number, nodeAt: (index: number) => BoardNode | undefined) {
    this.#members = members;
    this.#now = now;
    this.#nodeAt = nodeAt;
  }

  get first(): Candidate | undefined {
    const seen = this.#seen.first;
    for (; this.#next < this.#members.length; this.#next++) {
      const index = this.#members[this.#next] ?? 0;
      if (seen !== undefined && seen.notBefore <= this.#now && seen.node.index < index) return seen;
      const node = this.#nodeAt(index);
      if (node === undefined) continue;
      this.#next++;
      this.#seen.push({ node, notBefore: this.#now });
      return this.#seen.first;
    }
    return seen;
  }

  pop(): void {
    this.#seen.pop();
  }

  push(candidate: Candidate): void {
    this.#seen.push(candidate);
  }
}

function isSooner(a: Candidate, b: Candidate): boolean {
  return a.notBefore < b.notBefore || (a.notBefore === b.notBefore && a.node.index < b.node.index);
}

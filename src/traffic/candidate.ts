/** One host as the choice sees it. */
export interface Candidate {
  /** Names the host for ever: where it stands in a hash table follows from it. */
  readonly key: string;
  /** From 1. */
  readonly weight: number;
  /** Requests that it has now. */
  readonly active: number;
  /** May it be chosen at all? */
  readonly available: boolean;
  /** When it joined, in monotonic milliseconds: slow start counts from there. */
  readonly joinedAt: number;
}

/** The first available host at or after `from`, round; -1 when there is none. */
export function nextAvailable(hosts: readonly Candidate[], from: number): number {
  const { length } = hosts;
  for (let i = 0; i < length; i++) {
    const at = (from + i) % length;
    if (hosts[at]?.available) return at;
  }
  return -1;
}

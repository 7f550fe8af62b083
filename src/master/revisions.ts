import type { Clock } from '../base/clock.ts';

/**
 * Numbers for what is signed: each is larger than the one before and at least the time in milliseconds, so that they also
 * rise over a master that was restored from an old copy.
 */
export function nextRevision(last: number, clock: Clock): number {
  return Math.max(last + 1, Math.floor(clock.now()));
}

export function makeRevisions(clock: Clock): () => number {
  let last = 0;
  return () => {
    last = nextRevision(last, clock);
    return last;
  };
}

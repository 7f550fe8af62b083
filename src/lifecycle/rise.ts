/** Of `all` that were counted, `bad` were. */
export interface Share {
  readonly bad: number;
  readonly all: number;
}

/**
 * Standard deviations that a rise has to lie beyond the limit: it is looked at again and again while a step is watched, and each look
 * may be fooled by chance once in 700.
 */
const deviations = 3;

/**
 * Has the share of what is bad risen by more than `limit` (0 to 1), and not by chance? Newcombe's interval for the difference of two
 * shares, from Wilson's for each: it holds for small numbers and for shares of 0 and 1. Where nothing was counted before, nothing was bad.
 */
export function hasRisen(before: Share, since: Share, limit: number): boolean {
  if (since.all === 0) return false;
  const risen = rateOf(since) - rateOf(before);
  const below = rateOf(since) - wilson(since, -1);
  const above = before.all === 0 ? 0 : wilson(before, 1) - rateOf(before);
  return risen - Math.hypot(below, above) > limit;
}

export function rateOf({ bad, all }: Share): number {
  return all === 0 ? 0 : bad / all;
}

/** One end of Wilson's interval for a share. */
function wilson(share: Share, side: 1 | -1): number {
  const rate = rateOf(share);
  const square = deviations ** 2 / share.all;
  const spread = deviations * Math.sqrt((rate * (1 - rate) + square / 4) / share.all);
  return (rate + square / 2 + side * spread) / (1 + square);
}

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

/**
 * How often it was bad before, had each node had as many calls then as since, and as certain as `all` counted: added up as they are, a node
 * that has always been worse and is busier now would pass for a rise. A node of which nothing is known from before is taken to be as the
 * others. Direct standardisation; `all` is the effective number of calls, by the variance of a weighted mean.
 */
export function expectedShare(nodes: readonly { readonly before: Share; readonly since: Share }[]): Share {
  let calls = 0;
  let bad = 0;
  let spread = 0;
  for (const { before, since } of nodes) {
    if (before.all === 0) continue;
    calls += since.all;
    bad += since.all * rateOf(before);
    spread += since.all ** 2 / before.all;
  }
  if (calls === 0) return { bad: 0, all: 0 };
  const all = calls ** 2 / spread;
  return { bad: (bad / calls) * all, all };
}

/** One end of Wilson's interval for a share. */
function wilson(share: Share, side: 1 | -1): number {
  const rate = rateOf(share);
  const square = deviations ** 2 / share.all;
  const spread = deviations * Math.sqrt((rate * (1 - rate) + square / 4) / share.all);
  return (rate + square / 2 + side * spread) / (1 + square);
}

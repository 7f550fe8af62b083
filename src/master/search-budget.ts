import type { Clock } from '../base/clock.ts';
import { seededRandom } from '../base/random.ts';
import type { Search } from '../scheduling/offers.ts';
import { defaultSearchMs } from '../scheduling/scheduler.ts';

/** So much of the time of a processor goes into better plans, as long as tasks come and go; less than `leastSearchMs` finds nothing. */
const searchShare = 0.05;
const leastSearchMs = 2;
const maxLooks = 1_500;

/**
 * What each round may spend on a better plan, undefined for nothing. The clock decides how long is searched, and where it stands
 * still (in tests) the number of looks at it.
 */
export function makeSearchBudget(clock: Clock): (earlier: Search['earlier']) => Search | undefined {
  let [leftMs, searchedAt] = [defaultSearchMs, clock.monotonic()];
  return earlier => {
    const started = clock.monotonic();
    leftMs = Math.min(defaultSearchMs, leftMs + (started - searchedAt) * searchShare);
    searchedAt = started;
    if (leftMs < leastSearchMs) return undefined;
    const budgetMs = leftMs;
    let begin: number | undefined;
    let looks = 0;
    return {
      dice: seededRandom(1),
      spent() {
        begin ??= clock.monotonic();
        const usedMs = clock.monotonic() - begin;
        leftMs = Math.max(0, budgetMs - usedMs);
        return Math.max(usedMs / budgetMs, looks++ / maxLooks);
      },
      earlier,
    };
  };
}

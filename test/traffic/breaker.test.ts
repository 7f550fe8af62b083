import fc from 'fast-check';
import t from 'tap';
import { type BreakerSettings, defaultBreaker, mayRetry, newUsage, type Usage } from '../../src/traffic/breaker.ts';

const withBudget = (percent: number, minConcurrency: number): BreakerSettings => ({
  ...defaultBreaker,
  retries: { percent, minConcurrency },
});

function startRetries(used: Usage, settings: BreakerSettings): number {
  while (mayRetry(used, settings)) {
    used.retries++;
    used.requests++;
  }
  return used.retries;
}

t.test('of 100 requests that all fail, 20 may be tried again at a time', async t => {
  t.equal(startRetries({ ...newUsage(), requests: 100 }, withBudget(20, 3)), 20);
});

t.test('some retries are allowed however few requests there are, and those that wait count', async t => {
  t.equal(startRetries(newUsage(), withBudget(20, 3)), 3);
  t.equal(startRetries({ ...newUsage(), requests: 10, pending: 40 }, withBudget(20, 0)), 10);
});

t.test('a number bounds retries by itself', async t => {
  const used = { ...newUsage(), requests: 1000 };
  while (mayRetry(used, { ...defaultBreaker, retries: 3 })) used.retries++;
  t.equal(used.retries, 3);
});

t.test('whatever the order, retries are never more than their share of the first attempts', async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 100 }), fc.array(fc.boolean(), { maxLength: 400 }), (percent, steps) => {
      const used = newUsage();
      const settings = withBudget(percent, 0);
      for (const isNew of steps) {
        if (isNew) used.requests++;
        else if (mayRetry(used, settings)) {
          used.retries++;
          used.requests++;
        }
        if (used.retries > (percent / 100) * (used.requests - used.retries)) return false;
      }
      return true;
    }),
    { seed: 3, numRuns: 500 },
  );
});

import fc from 'fast-check';
import t from 'tap';
import { minuteMs } from '../../src/base/clock.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import { effectivePriority, type RankSettings, rankPending } from '../../src/scheduling/rank.ts';
import { aTask, noon } from './fixtures.ts';

const settings: RankSettings = { order: 'longestFirst', agingMs: minuteMs };
const ids = (tasks: readonly PendingTask[], now = noon, how = settings) =>
  rankPending(tasks, now, how, task => task.expectedMs ?? 1).map(({ id }) => id);

t.test('a higher priority comes first, then the longest, then the order of the job file', async t => {
  const tasks = [
    aTask('second', { order: 2, expectedMs: 5 }),
    aTask('first', { order: 1, expectedMs: 5 }),
    aTask('long', { order: 3, expectedMs: 9 }),
    aTask('urgent', { order: 4, priority: 90, expectedMs: 1 }),
  ];
  t.same(ids(tasks), ['urgent', 'long', 'first', 'second']);
  t.same(ids(tasks, noon, { ...settings, order: 'arrival' }), ['urgent', 'first', 'second', 'long']);
});

t.test('a task that waits climbs and is not overtaken for ever', async t => {
  const old = aTask('old', { priority: 0 });
  const fresh = (now: number) => aTask('fresh', { priority: 100, submittedAt: now });
  t.same(ids([old, fresh(noon + 99 * minuteMs)], noon + 99 * minuteMs), ['fresh', 'old']);
  t.same(ids([old, fresh(noon + 101 * minuteMs)], noon + 101 * minuteMs), ['old', 'fresh']);
});

t.test('a clock that was set back makes nobody younger than new', async t => {
  t.equal(effectivePriority(aTask('t'), noon - 10 * minuteMs, minuteMs), 50);
});

t.test('the order does not depend on how the tasks are listed', async t => {
  const tasks = fc
    .uniqueArray(fc.nat(40), { maxLength: 20 })
    .map(numbers => numbers.map(n => aTask(`t${n}`, { priority: n % 3, order: n % 2, expectedMs: n % 4 })));
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        tasks.chain(list => fc.tuple(fc.constant(list), fc.shuffledSubarray(list, { minLength: list.length }))),
        ([list, shuffled]) => JSON.stringify(ids(list)) === JSON.stringify(ids(shuffled)),
      ),
      { seed: 4, numRuns: 100 },
    ),
  );
});

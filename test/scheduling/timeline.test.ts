import fc from 'fast-check';
import t from 'tap';
import { earliestStart, makeTimeline, reserve } from '../../src/scheduling/timeline.ts';

const forever = Number.POSITIVE_INFINITY;

t.test('room comes when enough has been released, and lasts as long as it is needed', async t => {
  const timeline = makeTimeline(
    100,
    [1, 10],
    [
      { at: 130, amount: [2, 0] },
      { at: 120, amount: [1, 5] },
    ],
  );
  t.equal(earliestStart(timeline, [1, 10], 50), 100);
  t.equal(earliestStart(timeline, [2, 0], 50), 120);
  t.equal(earliestStart(timeline, [3, 15], forever), 130);
  t.equal(earliestStart(timeline, [5, 0], 1), undefined);
});

t.test('a short task fills the time before a reserved one, a long one goes behind it', async t => {
  const timeline = makeTimeline(0, [1], [{ at: 10, amount: [1] }]);
  reserve(timeline, [2], 10, 20);
  t.equal(earliestStart(timeline, [1], 10), 0);
  t.equal(earliestStart(timeline, [1], 11), 30);
  t.equal(earliestStart(timeline, [1], forever), 30, 'and so does one that never ends');
});

t.test('a queue of like tasks does not make the timeline longer', async t => {
  const timeline = makeTimeline(0, [1], []);
  for (let i = 0; i < 1000; i++) reserve(timeline, [1], earliestStart(timeline, [1], 7) ?? 0, 7);
  t.equal(earliestStart(timeline, [1], 7), 7000);
  t.same(timeline.times, [0, 7000]);
  const gap = makeTimeline(0, [1], []);
  reserve(gap, [1], 10, 10);
  reserve(gap, [1], 0, 10);
  t.same(gap.times, [0, 20], 'nor does one that fills a gap');
});

const request = fc.record({
  need: fc.tuple(fc.nat(3), fc.nat(3)),
  holdMs: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.constant(forever)),
});
const release = fc.record({ at: fc.nat(20), amount: fc.tuple(fc.nat(2), fc.nat(2)) });

t.test('the earliest start is what a reckoning moment by moment finds, and nothing is reserved twice', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.tuple(fc.nat(3), fc.nat(3)),
        fc.array(release, { maxLength: 5 }),
        fc.array(request, { maxLength: 12 }),
        (free, releases, requests) => {
          const timeline = makeTimeline(0, free, releases);
          const taken: { need: readonly number[]; from: number; to: number }[] = [];
          const freeAt = (time: number, i: number) =>
            (free[i] ?? 0) +
            releases.reduce((sum, { at, amount }) => sum + (at <= time ? (amount[i] ?? 0) : 0), 0) -
            taken.reduce((sum, { need, from, to }) => sum + (from <= time && time < to ? (need[i] ?? 0) : 0), 0);
          // every amount is whole and all changes are over by then
          const end = 20 + 9 * requests.length + 1;
          for (const { need, holdMs } of requests) {
            const isFree = (time: number) => need.every((amount, i) => amount <= freeAt(time, i));
            const lasts = (start: number) => {
              for (let time = start; time < Math.min(start + holdMs, end + 1); time++) if (!isFree(time)) return false;
              return true;
            };
            let expected: number | undefined;
            for (let start = 0; start <= end && expected === undefined; start++) if (lasts(start)) expected = start;
            const start = earliestStart(timeline, need, holdMs);
            if (start !== expected) throw new Error(`expected ${expected}, got ${start}`);
            if (start === undefined) continue;
            reserve(timeline, need, start, holdMs);
            taken.push({ need, from: start, to: start + holdMs });
          }
          return timeline.free.every(amount => amount.every(one => one >= 0));
        },
      ),
      { seed: 3, numRuns: 400 },
    ),
  );
});

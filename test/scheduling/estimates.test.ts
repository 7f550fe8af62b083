import t from 'tap';
import { minuteMs } from '../../src/base/clock.ts';
import { seededRandom } from '../../src/base/random.ts';
import { unknownDurationMs } from '../../src/model/job.ts';
import {
  type Estimates,
  estimate,
  type FinishedTask,
  learn,
  maxEstimates,
  noEstimates,
  remainingMs,
  stagingMs,
  stagingOf,
} from '../../src/scheduling/estimates.ts';

const question = { class: 'default/job', type: 'batch', profile: 'pi-4', speed: 1 } as const;
const completion: FinishedTask = { class: 'default/job', profile: 'pi-4', speed: 1, durationMs: 1000 };
const learnAll = (...durations: number[]) =>
  durations.reduce((known, durationMs) => learn(known, { ...completion, durationMs }), noEstimates);

t.test('what was learned on a profile is expected there', async t => {
  const known = learnAll(1000, 1000, 1000);
  t.match(estimate(known, { ...question, expectedMs: 5 }), { from: 'profile' });
  t.ok(Math.abs(estimate(known, question).ms - 1000) < 0.01);
});

t.test('what was learned elsewhere is scaled by the speed of the node', async t => {
  const known = learnAll(1000);
  const elsewhere = estimate(known, { ...question, profile: 'zero', speed: 0.25 });
  t.match(elsewhere, { from: 'class' });
  t.ok(Math.abs(elsewhere.ms - 4000) < 0.01);
  t.ok(elsewhere.sigma > estimate(known, question).sigma, 'and is less sure');
});

t.test('before anything is learned the job’s own word counts, and without it a constant, both at speed 1', async t => {
  t.match(estimate(noEstimates, { ...question, speed: 2, expectedMs: 500 }), { ms: 250, from: 'job' });
  t.match(estimate(noEstimates, question), { ms: unknownDurationMs.batch, from: 'unknown' });
  t.match(estimate(noEstimates, { ...question, type: 'service' }), { ms: unknownDurationMs.service, from: 'unknown' });
});

t.test('classes do not learn from each other', async t => {
  t.match(estimate(learnAll(1000), { ...question, class: 'default/job2' }), { from: 'unknown' });
});

t.test('the estimate follows a class whose durations change', async t => {
  const known = learnAll(...Array<number>(30).fill(1000), ...Array<number>(30).fill(4000));
  t.ok(Math.abs(estimate(known, question).ms / 4000 - 1) < 0.05);
});

t.test('noisy durations are learned to within a fifth, and the noise too', async t => {
  const dice = seededRandom(7);
  const normal = () => Math.sqrt(-2 * Math.log(1 - dice())) * Math.cos(2 * Math.PI * dice());
  const known = learnAll(...Array.from({ length: 200 }, () => 1000 * Math.exp(0.3 * normal())));
  const { ms, sigma } = estimate(known, question);
  t.ok(Math.abs(ms / (1000 * Math.exp(0.045)) - 1) < 0.2, `${ms}`);
  t.ok(sigma > 0.15 && sigma < 0.5, `${sigma}`);
});

t.test('a duration of nothing or below is taken as a millisecond', async t => {
  for (const durationMs of [0, -5]) t.match(estimate(learnAll(durationMs), question), { ms: 1 });
});

t.test('how long tasks take to start is part of when they end, where it was learned', async t => {
  const base = { class: 'c', type: 'batch', profile: 'pi-4', speed: 1 } as const;
  t.equal(stagingMs(noEstimates, base), 0);
  const learned = learn(noEstimates, { class: stagingOf('c'), profile: 'pi-4', speed: 1, durationMs: 4000 });
  t.equal(stagingMs(learned, base), 4000);
  t.equal(stagingMs(learned, { ...base, profile: 'zero', speed: 0.5 }), 8000, 'elsewhere by speed');
  t.equal(stagingMs(learned, { ...base, class: 'd' }), 0);
});

t.test('learning leaves the old estimates as they were', async t => {
  const before = learnAll(1000);
  learn(before, { ...completion, durationMs: 9000 });
  t.ok(Math.abs(estimate(before, question).ms - 1000) < 0.01);
});

t.test('a task past its time is granted more the longer it runs and the less is known', async t => {
  const sure = { ms: 1000, sigma: 0.1, from: 'profile' } as const;
  t.equal(remainingMs(sure, 400), 600);
  t.ok(remainingMs(sure, 2000) < remainingMs(sure, 20_000));
  t.ok(remainingMs(sure, 2000) < remainingMs({ ...sure, sigma: 1 }, 2000));
  t.ok(remainingMs({ ...sure, sigma: 0 }, minuteMs) >= 1);
});

t.test('the number of entries is bounded, and what was not learned for long is forgotten first', async t => {
  let known: Estimates = learn(noEstimates, { ...completion, class: 'old' });
  for (let i = 0; i < maxEstimates; i++) {
    known = learn(known, { ...completion, class: `class-${i}` });
    if (i % 100 === 0) known = learn(known, { ...completion, class: 'regular' });
    if (known.entries.size > maxEstimates) t.fail(`${known.entries.size} entries`);
  }
  const knows = (name: string) => estimate(known, { ...question, class: name }).from;
  t.equal(knows('old'), 'unknown');
  t.equal(knows('class-0'), 'unknown');
  t.equal(knows('regular'), 'profile');
  t.equal(knows(`class-${maxEstimates - 1}`), 'profile');
});

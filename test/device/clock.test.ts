import { mock } from 'node:test';
import t from 'tap';
import { alignedMs, systemClock } from '../../src/device/clock.ts';
import { newId, systemRandom } from '../../src/device/dice.ts';

const never = new AbortController().signal;

t.test('a sleep ends with true when the time is over', async t => {
  t.equal(await systemClock.sleep(1, never), true);
  t.equal(await systemClock.sleep(-5, never), true);
});

t.test('a sleep ends with false as soon as it is aborted', async t => {
  const ending = new AbortController();
  const sleep = systemClock.sleep(1_000_000, ending.signal);
  ending.abort();
  t.equal(await sleep, false);
  t.equal(await systemClock.sleep(1_000_000, ending.signal), false);
});

t.test('a single wait is as long as was asked for, whenever loops wake', async t => {
  const delays: unknown[] = [];
  const timer = mock.method(globalThis, 'setTimeout', (task: () => void, ms: number) => {
    delays.push(ms);
    queueMicrotask(task);
  });
  t.equal(await systemClock.sleep(10_000, never), true);
  timer.mock.restore();
  t.strictSame(delays, [10_000]);
});

t.test('loops that wake together have one timer, which goes with the last of them', async t => {
  const [some, all] = [new AbortController(), new AbortController()];
  const set = mock.method(globalThis, 'setTimeout');
  const cleared = mock.method(globalThis, 'clearTimeout');
  const sleeps = [some, all, all].map(({ signal }) => systemClock.sleep(1_000_000, signal, 'loop'));
  some.abort();
  const before = cleared.mock.callCount();
  all.abort();
  const counts = [set, cleared].map(({ mock }) => mock.callCount());
  for (const { mock } of [set, cleared]) mock.restore();
  t.strictSame(await Promise.all(sleeps), [false, false, false]);
  t.strictSame([...counts, before], [1, 1, 0]);
});

t.test('a loop sleeps', async t => {
  t.equal(await systemClock.sleep(1, never, 'loop'), true);
});

t.test('a task comes after its delay, unless it is cancelled', async t => {
  const called: string[] = [];
  systemClock.after(1, () => called.push('cancelled'))();
  // one that Node could not wait for in one piece would fire at once
  const cancel = systemClock.after(2 ** 40, () => called.push('in 34 years'));
  await new Promise<void>(resolve => {
    systemClock.after(5, resolve);
  });
  cancel();
  t.strictSame(called, []);
});

t.test('the monotonic time does not go back', async t => {
  const before = systemClock.monotonic();
  t.ok(systemClock.monotonic() >= before);
});

t.test('dice fall in [0, 1), and ids are new', async t => {
  for (let i = 0; i < 100; i++) t.ok(systemRandom() >= 0 && systemRandom() < 1);
  t.not(newId(), newId());
});

t.test('sleeps of loops end on the same whole seconds, those of slow ones on every fifth or tenth', async t => {
  t.equal(alignedMs(10_000.5, 2_000), 1_999.5, 'one that has just woken keeps its period');
  t.equal(alignedMs(10_300, 2_000), 1_700);
  t.equal(alignedMs(10_700, 2_000), 2_300);
  t.equal(alignedMs(10_300, 1_900), 1_900, 'a short one is kept to');
  t.equal(alignedMs(12_400, 10_000), 7_600);
  t.equal(alignedMs(17_400, 60_000), 62_600);
  t.equal(alignedMs(20_900, 10_000), 9_100, 'one that is late falls in again');
  t.equal(alignedMs(20_000.3, 15_000), 14_999.7);
});

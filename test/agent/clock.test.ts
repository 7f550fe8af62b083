import t, { type Test } from 'tap';
import { clockBounds, openNodeClock, releasedAt } from '../../src/agent/clock.ts';
import { makeMoments } from '../../src/agent/moments.ts';
import { dayMs, hourMs, minuteMs, secondMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const now = Date.UTC(2030, 0, 1);

async function openAt(t: Test, system: FakeClock, directory = t.testdir({})) {
  const files = await openFiles(directory);
  let nonces = 0;
  const clock = await openNodeClock({ system, files, log: silentLog, newId: () => `nonce-${nonces++}` });
  return { clock, files, directory };
}

t.test('a system clock that may be right is believed', async t => {
  const { clock } = await openAt(t, new FakeClock(now));
  t.match({ now: clock.now(), known: clock.known, offsetMs: clock.offsetMs }, { now, known: true, offsetMs: 0 });
});

t.test('a board that starts in 1970 does not know the time, until the master answers its question', async t => {
  const system = new FakeClock(0);
  const { clock } = await openAt(t, system);
  t.match({ now: clock.now(), known: clock.known }, { now: releasedAt, known: false });
  const nonce = clock.question ?? '';
  await system.advance(3 * secondMs);
  t.equal(clock.question, nonce, 'it is one question until it is answered');
  clock.answer(nonce, now);
  t.match(
    { now: clock.now(), known: clock.known, offsetMs: clock.offsetMs },
    { now, known: true, offsetMs: now - 3000 },
  );
  t.equal(clock.question, undefined);
  await system.advance(hourMs);
  t.equal(clock.now(), now + hourMs, 'it goes on');
});

t.test('an answer to another question, or one that comes late, does not count', async t => {
  const system = new FakeClock(0);
  const { clock } = await openAt(t, system);
  const nonce = clock.question ?? '';
  clock.answer('nonce-of-somebody', now);
  t.notOk(clock.known);
  await system.advance(clockBounds.answerWithinMs + 1);
  clock.answer(nonce, now);
  t.notOk(clock.known);
  t.not(clock.question, nonce, 'another question is asked');
});

t.test('an answer counts once, and only for the newest question', async t => {
  const { clock } = await openAt(t, new FakeClock(0));
  const first = clock.question ?? '';
  clock.ask();
  const second = clock.question ?? '';
  clock.answer(first, now);
  t.notOk(clock.known);
  clock.answer(second, now);
  clock.answer(second, now + dayMs);
  t.equal(clock.now(), now);
});

t.test('what the master said at some time is a floor, and never goes back', async t => {
  const { clock } = await openAt(t, new FakeClock(0));
  clock.atLeast(now);
  clock.atLeast(now - dayMs);
  t.match({ now: clock.now(), known: clock.known }, { now, known: false });
});

t.test('a system clock that is a little off is left as it is', async t => {
  const system = new FakeClock(now);
  const { clock } = await openAt(t, system);
  clock.setTime(now + clockBounds.slackMs);
  t.equal(clock.offsetMs, 0);
});

t.test('a clock that is 20 years ahead is put right by the master, and leaves no trace', async t => {
  const system = new FakeClock(now + 20 * 365 * dayMs);
  const { clock, directory } = await openAt(t, system);
  t.ok(clock.known, 'nothing tells it from the truth');
  clock.setTime(now);
  t.equal(clock.now(), now);
  const ended = AbortSignal.abort();
  await clock.run(false, ended);
  const again = await openAt(t, new FakeClock(now + minuteMs), directory);
  t.match({ now: again.clock.now(), known: again.clock.known }, { now: now + minuteMs, known: true });
});

t.test('a clock that is set 20 years ahead without the master moves no floor', async t => {
  const system = new FakeClock(now);
  const { clock, directory } = await openAt(t, system);
  system.setNow(now + 20 * 365 * dayMs);
  t.equal(clock.now(), now + 20 * 365 * dayMs, 'it may have slept');
  t.type(clock.question, 'string', 'so the master is asked');
  await clock.run(false, AbortSignal.abort());
  system.setNow(now);
  t.equal(clock.now(), now, 'and when it is put right it is believed again');
  const again = await openAt(t, new FakeClock(now), directory);
  t.ok(again.clock.known);
});

t.test('a clock that is set an hour back after the master has told the time changes nothing', async t => {
  const system = new FakeClock(now);
  const { clock } = await openAt(t, system);
  clock.setTime(now);
  system.setNow(now - hourMs);
  t.match({ now: clock.now(), known: clock.known }, { now, known: true });
  t.type(clock.question, 'string');
  await system.advance(minuteMs);
  t.equal(clock.now(), now + minuteMs);
});

t.test(
  'a clock that is set is in doubt: the master is judged by the last answer, and is asked again at once',
  async t => {
    const system = new FakeClock(now);
    const { clock } = await openAt(t, system);
    let doubts = 0;
    clock.onDoubt(() => doubts++);
    clock.setTime(now);
    system.setNow(now + 20 * 365 * dayMs);
    t.equal(clock.nowForMaster(), now);
    t.equal(doubts, 1);
    clock.answer(clock.question ?? '', now);
    t.match({ now: clock.now(), forMaster: clock.nowForMaster() }, { now, forMaster: now });
  },
);

t.test('before the master has said anything it is judged by the clock of the system', async t => {
  const { clock } = await openAt(t, new FakeClock(now + 20 * 365 * dayMs));
  t.equal(clock.nowForMaster(), now + 20 * 365 * dayMs);
});

t.test(
  'a master whose clock was wrong is heard again: time from before the release does not count, nor is it too early for its certificates',
  async t => {
    const { clock } = await openAt(t, new FakeClock(now));
    clock.setTime(0);
    t.match({ now: clock.now(), question: clock.question }, { now, question: String });
    clock.setTime(now - 90 * dayMs);
    const parts = { clock, revoked: () => new Set<string>(), isUp: () => false };
    const moments = makeMoments(parts, { offlineGraceMs: 0, waitForTimeMs: 0 });
    t.match(moments.master(), { now: now - 90 * dayMs, notYetValidToleranceMs: Number.POSITIVE_INFINITY });
    t.equal(moments.peer().notYetValidToleranceMs, 0);
  },
);

t.test('a corrected clock that NTP sets right is believed by itself', async t => {
  const system = new FakeClock(0);
  const { clock } = await openAt(t, system);
  clock.setTime(now);
  await system.advance(minuteMs);
  system.setNow(now + minuteMs);
  t.match({ now: clock.now(), offsetMs: clock.offsetMs }, { now: now + minuteMs, offsetMs: 0 });
});

t.test('the last time seen is kept over a restart, at most a day old after a power cut', async t => {
  const system = new FakeClock(0);
  const { clock, directory } = await openAt(t, system);
  clock.setTime(now);
  const ended = new AbortController();
  t.teardown(() => ended.abort());
  const running = clock.run(false, ended.signal);
  await system.untilSleeping();
  await system.advance(clockBounds.keepEveryMs);
  // its next sleep begins behind the write
  await system.untilSleeping();
  await system.advance(hourMs);
  const afterPowerCut = await openAt(t, new FakeClock(0), directory);
  t.match(
    { now: afterPowerCut.clock.now(), known: afterPowerCut.clock.known },
    { now: now + clockBounds.keepEveryMs, known: false },
  );
  ended.abort();
  await running;
  const afterStop = await openAt(t, new FakeClock(0), directory);
  t.equal(afterStop.clock.now(), now + clockBounds.keepEveryMs + hourMs);
});

t.test('a board whose clock goes on without power is not written to while the agent runs', async t => {
  const directory = t.testdir({});
  const system = new FakeClock(now);
  const { clock, files } = await openAt(t, system, directory);
  clock.setTime(now);
  const ended = new AbortController();
  const running = clock.run(true, ended.signal);
  await system.advance(3 * clockBounds.keepEveryMs);
  t.equal(system.sleepers, 0);
  const kept = async () => JSON.parse(String((await files.read('clock'))?.value)).seen;
  t.equal(await kept(), now);
  ended.abort();
  await running;
  t.equal(await kept(), now + 3 * clockBounds.keepEveryMs);
});

t.test('a damaged file is as none', async t => {
  const directory = t.testdir({ clock: 'not what was written' });
  const { clock } = await openAt(t, new FakeClock(0), directory);
  t.equal(clock.now(), releasedAt);
});

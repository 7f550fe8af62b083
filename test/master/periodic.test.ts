import t, { type Test } from 'tap';
import { minuteMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { lastDue, nextDue } from '../../src/master/cron.ts';
import { makeJobs } from '../../src/master/jobs.ts';
import { makePeriodic } from '../../src/master/periodic.ts';
import { parseRunLabel, printRunLabel } from '../../src/model/run-label.ts';
import type { Store } from '../../src/store/store.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { until } from '../fixtures/fleet-until.ts';
import { jobOf, openTestStore, sha256, statusOf } from '../fixtures/master-store.ts';

/** A master's periodic jobs from `now` on; another one over the same store is the master after a restart. */
async function stage(t: Test, now: number, store?: Store) {
  const clock = new FakeClock(now);
  const present = store ?? (await openTestStore(t));
  let ids = 0;
  const newId = () => `${++ids}`.padStart(8, '0').split('').reverse().join('');
  const jobs = makeJobs({ store: present, clock, newId, sha256, onStopped: () => {}, nodes: () => [] });
  const periodic = makePeriodic({ store: present, jobs, clock, log: silentLog, onStarted: () => {} });
  const ended = new AbortController();
  const run = periodic.run(ended.signal);
  const stop = async () => {
    ended.abort();
    await run;
  };
  t.teardown(stop);
  const apply = async (spec: object) => {
    const json = JSON.stringify(jobOf('tidy', { type: 'periodic', ...spec }));
    await present.documents.apply([{ kind: 'Job', namespace: 'default', name: 'tidy', json }], clock.now());
    periodic.wake();
  };
  const runs = async () => (await present.tasks.list({ job: 'tidy' })).map(({ label, state }) => `${label} ${state}`);
  /** Lets time pass by minutes until there are the runs that are expected. */
  const untilRuns = (count: number) =>
    until(`${count} runs`, async () => {
      await clock.advance(minuteMs / 2);
      return (await runs()).length >= count || undefined;
    });
  const finish = async () => {
    for (const { id, state } of await present.tasks.list({ job: 'tidy' })) {
      if (state === 'TASK_STAGING')
        await present.tasks.recordStatuses([statusOf(id, 'TASK_FINISHED')], { node: null, receivedAt: 1 });
    }
  };
  return { store: present, clock, apply, runs, untilRuns, finish, stop };
}

const noon = Date.UTC(2030, 0, 1, 12);

t.test('a schedule is read in its time zone, and over the change of its clock', t => {
  const daily = { cron: '30 2 * * *', timeZone: 'Europe/Berlin' };
  t.equal(nextDue(daily, noon), Date.UTC(2030, 0, 2, 1, 30));
  t.equal(lastDue(daily, noon), Date.UTC(2030, 0, 1, 1, 30));
  t.equal(nextDue(daily, Date.UTC(2030, 6, 1)), Date.UTC(2030, 6, 1, 0, 30));
  const hourly = { cron: '0 * * * *', timeZone: 'UTC' };
  t.equal(lastDue(hourly, noon), noon, 'the moment itself is due');
  t.equal(nextDue(hourly, noon), noon + 60 * minuteMs);
  const label = { at: noon, name: 'a-b' };
  t.same(parseRunLabel(printRunLabel(label)), label);
  t.equal(parseRunLabel('a-b'), undefined);
  t.end();
});

t.test('runs begin when they are due; one that goes on keeps the next from beginning', async t => {
  const { apply, runs, untilRuns, finish, clock } = await stage(t, noon);
  await apply({ periodic: { cron: '*/5 * * * *' } });
  await untilRuns(1);
  t.same(await runs(), ['20300101t120500z-0 TASK_STAGING']);
  await clock.advance(5 * minuteMs);
  t.equal((await runs()).length, 1);
  await finish();
  await untilRuns(2);
  t.match((await runs())[1], /^20300101t12(15|20)00z-0 TASK_STAGING$/);
});

t.test('a run may take the place of one before it, and only the newest that have ended are kept', async t => {
  const { apply, runs, untilRuns, store } = await stage(t, noon);
  await apply({ periodic: { cron: '* * * * *', concurrency: 'replace', keep: 2 } });
  await untilRuns(3);
  t.match(await runs(), [/ TASK_KILLED$/, / TASK_KILLED$/, / TASK_STAGING$/]);
  const [first] = await runs();
  await until('the oldest is forgotten', async () => {
    await untilRuns(3);
    return !(await runs()).includes(first ?? '') || undefined;
  });
  t.ok((await store.tasks.list({ job: 'tidy' })).length <= 4);
});

t.test('what was missed while there was no master runs once, or not at all', async t => {
  for (const [missed, second] of [
    ['run', '20300101t220000z-0'],
    ['skip', '20300101t230000z-0'],
  ] as const) {
    const first = await stage(t, noon);
    await first.apply({ periodic: { cron: '0 * * * *', missed } });
    await first.untilRuns(1);
    await first.finish();
    await first.stop();
    const next = await stage(t, noon + 10.5 * 60 * minuteMs, first.store);
    await next.untilRuns(2);
    t.match((await next.runs())[1], second, missed);
    await next.stop();
  }
});

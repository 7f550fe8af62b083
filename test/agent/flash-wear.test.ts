import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeWearWatch, WearMeter } from '../../src/agent/flash-wear.ts';
import { dayMs, minuteMs } from '../../src/base/clock.ts';
import { systemFileOperations } from '../../src/device/file-operations.ts';
import { openFiles } from '../../src/device/files.ts';
import { openLineFile } from '../../src/device/line-file.ts';
import { unknownBoard } from '../../src/device/profiles.ts';
import { makeLogKeeper } from '../../src/device/task-log.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const block = 4096;

t.test('files are counted by what they are for, as a medium takes them: whole blocks, an inode, a name', async t => {
  const wear = new WearMeter(new FakeClock());
  const files = await openFiles(t.testdir(), { operations: wear.counting(systemFileOperations) });
  t.same(wear.lastDay(), {}, 'to open them costs nothing');
  await files.write('policy', Buffer.alloc(5_000));
  await files.write('certificate-abc', Buffer.alloc(100));
  await files.write('ended-task-1', Buffer.alloc(100));
  const expected = { policy: 4 * block, identity: 3 * block, statuses: 3 * block };
  t.same(wear.lastDay(), expected);
  await files.write('policy', Buffer.alloc(5_000));
  t.same(wear.lastDay(), expected, 'what is there already is not written');
  await files.write('boot', Buffer.from('2'));
  t.equal(wear.lastDay().state, 3 * block);
});

t.test(
  'lines and the output of tasks are counted as the system writes them, with the block they end in and the inode',
  async t => {
    const clock = new FakeClock();
    const wear = new WearMeter(clock);
    const log = new CapturedLog();
    const directory = t.testdir({ 'stdout.log': '', 'stderr.log': '' });
    const ended = new AbortController();
    const lines = await openLineFile({ clock, log }, join(directory, 'access.log'), undefined, wear.for('access-log'));
    lines.write('x'.repeat(99));
    const keeper = makeLogKeeper({ clock, log }, { onWritten: wear.for('task-logs') });
    keeper.watch(directory);
    const appended = await wear
      .counting(systemFileOperations)
      .create(join(directory, 'audit/1-0.open'))
      .catch(() => null);
    t.equal(appended, null, 'what could not be made is not counted');
    await openFiles(join(directory, 'audit'));
    const segment = await wear.counting(systemFileOperations).create(join(directory, 'audit/1-0.open'));
    await segment.write(Buffer.alloc(300));
    t.equal(wear.lastDay().audit, 300);
    await segment.sync();
    t.equal(wear.lastDay().audit, 2 * block);
    await segment.close();
    const running = [lines.run(ended.signal), keeper.start(ended.signal)];
    const file = await systemFileOperations.create(join(directory, 'stdout.log'));
    await file.write(Buffer.alloc(777));
    await file.close();
    await clock.untilSleeping(2);
    await clock.advance(2_000);
    await clock.untilSleeping(2);
    const first = { 'access-log': 100 + 2 * block, audit: 2 * block, 'task-logs': 777 + 2 * block };
    t.same(wear.lastDay(), first);
    lines.write('é'.repeat(50));
    appendFileSync(join(directory, 'stdout.log'), 'x'.repeat(23));
    await clock.advance(2_000);
    await clock.untilSleeping(2);
    t.same(wear.lastDay(), first, 'what comes within half a minute is written together');
    lines.write('x'.repeat(98));
    appendFileSync(join(directory, 'stdout.log'), 'x'.repeat(100));
    await clock.advance(2_000);
    await clock.untilSleeping(2);
    keeper.forget(directory);
    ended.abort();
    await Promise.all(running);
    const both = { 'access-log': 300 + 4 * block, audit: 2 * block, 'task-logs': 900 + 4 * block };
    t.same(wear.lastDay(), both);
  },
);

t.test('a node that writes more than its profile allows says so, with what helps, and when it is over', async t => {
  const clock = new FakeClock();
  const log = new CapturedLog();
  const meter = new WearMeter(clock);
  let told = 0;
  const profile = { ...unknownBoard, flashWear: { medium: '', bytesPerDay: 1_000_000, enduranceGb: 1, source: '' } };
  const watch = makeWearWatch({ meter, clock, log, onChanged: () => told++ }, () => profile);
  const ended = new AbortController();
  const running = watch.run(ended.signal);
  const later = async (ms: number) => {
    await clock.untilSleeping();
    await clock.advance(ms);
    await clock.untilSleeping();
  };
  meter.wrote('audit', 400_000);
  await later(10 * minuteMs);
  t.same([told, watch.warnings()], [0, []]);
  const written = { byPurpose: { audit: 400_000 }, budgetBytes: 1_000_000 };
  t.match(watch.spent(), { ...written, sinceMs: 10 * minuteMs, lifePerYear: 3.5 }, 'as if each hour were so');
  meter.wrote('task-logs', 900_000);
  await later(10 * minuteMs);
  t.equal(told, 1);
  t.match(watch.warnings(), [/1\.3 MB were written .* 0\.9 MB of it task-logs; .*allows 1\.0 MB: .*--task-log-rate/]);
  await later(10 * minuteMs);
  t.equal(told, 1, 'once');
  t.match(watch.spent(), { sinceMs: 30 * minuteMs });
  for (let at = 0; at < dayMs; at += 10 * minuteMs) await later(10 * minuteMs);
  t.same([told, watch.warnings()], [2, []]);
  t.match(log.entries, [{ level: 'warn' }]);
  ended.abort();
  await running;
});

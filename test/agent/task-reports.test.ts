import t, { type Test } from 'tap';
import { makeTaskReports, reportBounds } from '../../src/agent/task-reports.ts';
import type { TaskStatus } from '../../src/model/task.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

function stage(t: Test) {
  const words = new AgentWords();
  const log = new CapturedLog();
  const link = { isUp: true };
  const ended = new AbortController();
  const reports = makeTaskReports({ sender: words.sender, clock: words.clock, log, isUp: () => link.isUp });
  const run = reports.run(ended.signal);
  t.teardown(async () => {
    ended.abort();
    await run;
  });
  /** The uuids that were said, message by message. */
  const said = () => words.take('task').map(({ statuses }) => statuses.map(status => status.uuid));
  return { words, log, link, reports, said };
}

const status = (uuid: string, more: Partial<TaskStatus> = {}): TaskStatus => ({
  uuid,
  task: 'hello.default.0-a',
  state: 'TASK_RUNNING',
  at: 1,
  ...more,
});

t.test('a status is said at once, and again until the master has committed it', async t => {
  const { words, reports, said } = stage(t);
  reports.report(status('a'));
  reports.report(status('b'));
  t.same(said(), [['a'], ['b']]);
  await words.clock.advance(reportBounds.repeatEveryMs);
  t.same(said(), [['a', 'b']], 'in order');
  reports.acknowledge(['a', 'never-said']);
  await words.clock.advance(reportBounds.repeatEveryMs);
  t.same(said(), [['b']]);
  t.equal(reports.waiting, 1);
  reports.acknowledge(['b']);
  await words.clock.advance(3 * reportBounds.repeatEveryMs);
  t.same(said(), []);
  t.equal(reports.waiting, 0);
});

t.test('while the link is down nothing piles up, and all is said once when it is back', async t => {
  const { words, link, reports, said } = stage(t);
  link.isUp = false;
  for (const uuid of ['a', 'b', 'c']) reports.report(status(uuid));
  await words.clock.advance(100 * reportBounds.repeatEveryMs);
  t.same(said(), []);
  link.isUp = true;
  reports.repeat();
  t.same(said(), [['a', 'b', 'c']]);
});

t.test('many statuses go in several messages, in order, each small enough however long its statuses are', async t => {
  const { words, link, reports } = stage(t);
  link.isUp = false;
  const uuids = Array.from({ length: 2 * reportBounds.perMessage + 1 }, (_, i) => String(i));
  // three bytes a character
  const longest = { message: '€'.repeat(1024), reason: 'x'.repeat(64), task: `t${'x'.repeat(254)}` };
  for (const uuid of uuids) reports.report(status(uuid, longest));
  link.isUp = true;
  reports.repeat();
  t.equal(words.words.length, 3);
  for (const { payload } of words.words) t.ok(payload.length < 256 * 1024, `${payload.length} bytes`);
  t.same(
    words.take('task').flatMap(({ statuses }) => statuses.map(({ uuid }) => uuid)),
    uuids,
  );
});

t.test('at the bound the oldest status makes room, and that is logged', async t => {
  const { link, reports, log, said } = stage(t);
  link.isUp = false;
  for (let i = 0; i <= reportBounds.pending; i++) reports.report(status(String(i)));
  t.equal(reports.waiting, reportBounds.pending);
  t.equal(log.all('the queue of task statuses is full; the oldest was dropped').length, 1);
  link.isUp = true;
  reports.repeat();
  const all = said().flat();
  t.same([all[0], all.at(-1)], ['1', String(reportBounds.pending)]);
});

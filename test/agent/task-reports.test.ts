import t, { type Test } from 'tap';
import { makeSender } from '../../src/agent/sender.ts';
import { fitIntoBirth, makeTaskReports, reportBounds } from '../../src/agent/task-reports.ts';
import { Cell } from '../../src/base/cell.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import { seededRandom } from '../../src/base/random.ts';
import type { LinkState } from '../../src/link/link.ts';
import { Outbox } from '../../src/link/outbox.ts';
import { decodeUp, messageBounds } from '../../src/model/message.ts';
import type { TaskStatus } from '../../src/model/task.ts';
import { keptEvents } from '../../src/store/task-statuses.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

function stage(t: Test) {
  const words = new AgentWords();
  const log = new CapturedLog();
  const link = { isUp: true };
  const ended = new AbortController();
  const reports = makeTaskReports({
    sender: words.sender,
    clock: words.clock,
    log,
    isUp: () => link.isUp,
    isSent: () => true,
  });
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

t.test('of many that wait only so many are under way at once, and a birth tells of a task what comes next', async t => {
  const { link, reports, said } = stage(t);
  link.isUp = false;
  for (let i = 0; i < reportBounds.underWay + 3; i++) reports.report(status(String(i), { task: `t.default.${i % 2}` }));
  t.equal(reports.unsaid().get('t.default.1')?.uuid, '1');
  link.isUp = true;
  reports.repeat();
  t.equal(said().flat().length, reportBounds.underWay);
  t.equal(reports.unsaid().get('t.default.1')?.uuid, '201');
  reports.acknowledge(['0', '1']);
  t.same(said().flat(), ['200', '201']);
  t.same(
    [...reports.unsaid().values()].map(({ uuid }) => uuid),
    ['202'],
  );
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

t.test('a birth stays one message, however many tasks there are and however much they say', t => {
  const many = (count: number, message: string) =>
    Array.from({ length: count }, (_, i) => status(`uuid-${i}`, { task: `job.default.${i}`, message }));
  t.same(fitIntoBirth(many(100, 'a few words')), many(100, 'a few words'));
  const brief = fitIntoBirth(many(1_000, '€'.repeat(1_000)));
  t.equal(brief.length, 1_000);
  t.ok(brief.every(({ message }) => message === undefined));
  const all = fitIntoBirth(many(10_000, ''));
  t.ok(all.length > 1_500 && JSON.stringify(all).length < messageBounds.up.maxBytes - 32 * 1024);
  t.end();
});

t.test('at the bound the oldest status makes room, and the master is told how many are missing', async t => {
  const { link, reports, log, words } = stage(t);
  link.isUp = false;
  for (let i = 0; i < reportBounds.pending + 3; i++) reports.report(status(String(i)));
  t.equal(reports.waiting, reportBounds.pending);
  t.equal(log.all('the queue of task statuses is full; from now on the oldest are dropped').length, 1);
  link.isUp = true;
  reports.repeat();
  const gaps = () => words.take('task').map(({ lost, statuses }) => [statuses[0]?.uuid, lost]);
  const [first, ...rest] = gaps();
  t.same(first, ['3', 3]);
  t.ok(rest.every(([, lost]) => lost === undefined));
  reports.acknowledge(['4']);
  gaps();
  reports.repeat();
  t.same(gaps()[0], ['3', 3], 'until it is known to have arrived');
  reports.acknowledge(['3']);
  reports.repeat();
  t.ok(gaps().every(([, lost]) => lost === undefined));
});

t.test('10,000 statuses of an hour without a link are each stored once, in order, however the link breaks', async t => {
  const [tasks, count] = [40, reportBounds.pending];
  t.ok(reportBounds.underWay <= keptEvents, 'what is said again is known');

  const random = seededRandom(36);
  const { clock } = new AgentWords();
  const link = { state: new Cell<LinkState>('down'), publish };
  const outbox = new Outbox({ link, log: silentLog });
  const sender = makeSender({ lanes: outbox, clock }, { node: 'pi-1', boot: 1 });
  const isUp = () => link.state.value === 'up';
  const isSent = () => outbox.stats().waitingBytes === 0;
  const reports = makeTaskReports({ sender, clock, log: silentLog, isUp, isSent });
  const ending = new AbortController();
  t.teardown(() => ending.abort());
  const stored: string[] = [];
  /** Of each task, as the store keeps them. */
  const kept = new Map<string, readonly string[]>();

  /** The broker and the master: of what is said and of what is answered each tenth is lost with the link. */
  async function publish(_: string, payload: Uint8Array): Promise<void> {
    if (!isUp() || random() < 0.1) return breakLink();
    const { statuses } = decodeUp('task', payload);
    for (const { uuid, task } of statuses) {
      const known = kept.get(task) ?? [];
      if (known.includes(uuid)) continue;
      stored.push(uuid);
      kept.set(task, [...known, uuid].slice(-keptEvents));
    }
    if (random() < 0.1) return breakLink();
    reports.acknowledge(statuses.map(({ uuid }) => uuid));
  }

  function breakLink(): never {
    link.state.set('down');
    throw new MesoliteError('UNAVAILABLE', 'the link is lost');
  }

  await outbox.start(ending.signal);
  for (let i = 0; i < count; i++) {
    reports.report(status(`u${i}`, { task: `job.default.${i % tasks}` }));
    if (i % 100 === 0) await clock.advance(36_000);
  }
  t.equal(outbox.stats().waiting, 0, 'nothing is made up before it can be sent');
  while (reports.waiting > 0) {
    if (!isUp()) {
      link.state.set('up');
      reports.repeat();
    }
    // what was sent and lost is said again in time
    if (isSent()) reports.repeat();
    await new Promise(resolve => setImmediate(resolve));
  }
  t.same(
    stored,
    Array.from({ length: count }, (_, i) => `u${i}`),
  );
  t.equal(outbox.stats().dropped, 0);
});

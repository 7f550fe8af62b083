import t, { type Test } from 'tap';
import { makeTaskIntake, type TaskNews } from '../../src/master/task-intake.ts';
import type { TaskStatus } from '../../src/model/task.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { enterNode, openTestStore, placeTask, statusOf } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

async function stage(t: Test) {
  const store = await openTestStore(t);
  for (const node of ['pi-1', 'pi-2']) await enterNode(store, node);
  const words = new MasterWords();
  const ended: string[] = [];
  const news: (readonly [string, TaskNews])[] = [];
  let ids = 0;
  const intake = makeTaskIntake({
    store,
    outgoing: words.outgoing,
    clock: words.clock,
    log: new CapturedLog(),
    newId: () => `made-${++ids}`,
    onRecorded: () => {},
    onEnded: task => ended.push(`${task.id} ${task.state}`),
    onChanged: (...each) => news.push(each),
  });
  const acked = () => words.take('ack').map(({ subject, body }) => [subject, body.statuses]);
  const stateOf = async (id: string) => (await store.tasks.get(id))?.state;
  const place = (id: string, spec = {}) => placeTask(store, 'pi-1', { id, ...spec });
  return { store, words, intake, ended, news, acked, stateOf, place };
}

const uuids = (statuses: readonly TaskStatus[]) => statuses.map(status => status.uuid);

t.test('what a node reports is written before it is acknowledged', async t => {
  const { store, words, intake, acked, place } = await stage(t);
  await place('a');
  const statuses = [statusOf('a', 'TASK_STARTING'), statusOf('a', 'TASK_RUNNING', { pid: 7 })];
  const publish = words.publish.bind(words);
  let stored: unknown;
  words.publish = async (...args) => {
    stored = await store.tasks.get('a');
    await publish(...args);
  };
  await intake.onStatuses('pi-1', statuses);
  t.match(stored, { state: 'TASK_RUNNING', pid: 7 });
  t.same(acked(), [['pi-1', uuids(statuses)]]);
});

t.test('nothing is acknowledged that could not be written', async t => {
  const { store, words, acked, place } = await stage(t);
  await place('a');
  const recordStatuses = async () => Promise.reject(new Error('database or disk is full'));
  const intake = makeTaskIntake({
    store: { ...store, tasks: { ...store.tasks, recordStatuses } },
    outgoing: words.outgoing,
    clock: words.clock,
    log: new CapturedLog(),
    newId: () => 'made',
    onRecorded: () => {},
    onEnded: () => {},
    onChanged: () => {},
  });
  await t.rejects(intake.onStatuses('pi-1', [statusOf('a', 'TASK_RUNNING')]));
  t.same(acked(), []);
});

t.test('a report that is repeated is acknowledged again, and is news once', async t => {
  const { intake, acked, ended, news, place } = await stage(t);
  await place('a');
  const end = statusOf('a', 'TASK_FINISHED', { exitCode: 0 });
  for (let i = 0; i < 3; i++) await intake.onStatuses('pi-1', [end]);
  t.equal(acked().length, 3);
  t.same(ended, ['a TASK_FINISHED']);
  t.same(news, [['pi-1', { ended: true, serving: false }]]);
});

t.test(
  'what is said of a task that the node does not have is acknowledged, so that it is not said for ever',
  async t => {
    const { intake, acked, news, place, stateOf } = await stage(t);
    await place('a');
    const statuses = [statusOf('a', 'TASK_FAILED'), statusOf('nothing', 'TASK_RUNNING')];
    await intake.onStatuses('pi-2', statuses);
    t.same(acked(), [['pi-2', uuids(statuses)]]);
    t.equal(await stateOf('a'), 'TASK_STAGING', 'it is another node’s');
    t.same(news, []);
  },
);

t.test('it is told apart whether endpoints or assignments are others now', async t => {
  const { intake, news, place } = await stage(t);
  await place('client');
  await place('web', { service: { name: 'web', port: 'http' } });
  await intake.onStatuses('pi-1', [statusOf('client', 'TASK_RUNNING')]);
  await intake.onStatuses('pi-1', [statusOf('web', 'TASK_RUNNING', { ready: true })]);
  await intake.onStatuses('pi-1', [statusOf('web', 'TASK_FAILED'), statusOf('client', 'TASK_RUNNING')]);
  t.same(
    news.map(([, each]) => each),
    [
      { ended: false, serving: false },
      { ended: false, serving: true },
      { ended: true, serving: true },
    ],
  );
});

t.test('many statuses are taken in messages of the size that a node reads', async t => {
  const { intake, acked, place } = await stage(t);
  await place('a');
  const statuses = Array.from({ length: 250 }, () => statusOf('a', 'TASK_RUNNING'));
  await intake.onStatuses('pi-1', statuses);
  t.same(
    acked().map(([, each]) => (each as string[]).length),
    [100, 100, 50],
  );
});

t.test('at a birth a task that was to end and is not there has ended', async t => {
  const { store, intake, ended, place, stateOf } = await stage(t);
  for (const id of ['kept', 'stopped', 'dying', 'new']) await place(id);
  await store.assignments.stop(['stopped', 'dying']);
  const dying = statusOf('dying', 'TASK_KILLING');
  await intake.onBirth('pi-1', [statusOf('kept', 'TASK_RUNNING'), dying]);
  t.equal(await stateOf('stopped'), 'TASK_KILLED');
  t.match((await store.tasks.history('stopped')).at(-1), { message: 'no longer on its node' });
  t.equal(await stateOf('dying'), 'TASK_KILLING', 'it is there, and will report its end itself');
  t.equal(await stateOf('new'), 'TASK_STAGING', 'it is wanted: the node will get it');
  t.same(ended, ['stopped TASK_KILLED']);
  await intake.onBirth('pi-1', []);
  t.equal(await stateOf('dying'), 'TASK_KILLED');
  t.equal(await stateOf('kept'), 'TASK_RUNNING');
});

t.test('the end that a birth reports counts before its absence is noticed', async t => {
  const { store, intake, place } = await stage(t);
  await place('a');
  await store.assignments.stop(['a']);
  await intake.onBirth('pi-1', [statusOf('a', 'TASK_KILLED', { signal: 'SIGTERM' })]);
  t.match(await store.tasks.get('a'), { state: 'TASK_KILLED', signal: 'SIGTERM' });
});

import t, { type Test } from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import type { FleetNode } from '../../src/master/fleet.ts';
import { asJob, makeJobs } from '../../src/master/jobs.ts';
import { makeRounds } from '../../src/master/rounds.ts';
import { type Birth, encodeMessage, messageBounds } from '../../src/model/message.ts';
import { isTerminal, type TaskState } from '../../src/model/task.ts';
import { maxTasksPerNode } from '../../src/model/task-slots.ts';
import { makeScheduler } from '../../src/scheduling/scheduler.ts';
import type { Store } from '../../src/store/store.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { until } from '../fixtures/fleet-until.ts';
import { birthOf, enterNode, jobOf, openTestStore, sha256, statusOf } from '../fixtures/master-store.ts';

const nodeOf = (id: string, birth: Partial<Birth> = {}, more: Partial<FleetNode> = {}): FleetNode => ({
  id,
  labels: {},
  joinedAt: 1,
  state: 'ready',
  lastSeen: 1,
  birth: birthOf(birth),
  usage: null,
  boot: 1,
  quarantine: null,
  ...more,
});

/** A master's rounds over a fleet that the test makes; another one over the same store is the master after a restart. */
async function stage(t: Test, nodes: readonly FleetNode[], store?: Store) {
  const { clock, log, placed } = { clock: new FakeClock(), log: new CapturedLog(), placed: [] as string[][] };
  const present = store ?? (await openTestStore(t));
  const fleet = new Map(nodes.map(node => [node.id, node]));
  if (store === undefined) for (const id of fleet.keys()) await enterNode(present, id);
  const told: string[] = [];
  let ids = 0;
  const newId = () => `${++ids}`.padStart(8, '0').split('').reverse().join('');
  const jobs = makeJobs({
    store: present,
    clock,
    newId,
    sha256,
    onStopped: () => {},
    nodes: () => [...fleet.values()],
  });
  const rounds = makeRounds({
    store: present,
    jobs,
    fleet: { list: () => [...fleet.values()], get: id => fleet.get(id) },
    scheduler: makeScheduler(),
    policies: () => new Map(),
    dice: seededRandom(1),
    strainOf: () => 'calm',
    clock,
    log,
    events: { record: (kind, { node, message }) => void told.push(`${kind} ${node}: ${message}`) },
    newId,
    onPlaced: each => placed.push([...each]),
    onEmptied: node => void told.push(`emptied ${node}`),
    artifactBytes: () => 8_000_000,
  });
  await rounds.load();
  const ended = new AbortController();
  const run = rounds.run(ended.signal);
  const stop = async () => {
    ended.abort();
    await run;
  };
  t.teardown(stop);

  const apply = async (name: string, spec: object) => {
    const json = JSON.stringify(jobOf(name, spec));
    await present.documents.apply([{ kind: 'Job', namespace: 'default', name, json }], clock.now());
    const job = await jobs.get('default', name);
    if (job !== undefined) await jobs.apply(job);
    rounds.wake();
  };
  const tasks = (job?: string) => present.tasks.list(job === undefined ? {} : { job });
  const placeOf = async (job: string) => (await tasks(job)).map(({ label, node }) => `${label} ${node}`).sort();
  /** Lets time pass until `what` holds: rounds wait for the clock, and write to a real database. */
  const eventually = async (what: string, holds: () => Promise<boolean> | boolean) =>
    until(what, async () => {
      await clock.advance(20);
      return (await holds()) || undefined;
    });
  const untilPlaced = (job: string, count: number) =>
    eventually(`${count} tasks of ${job} are placed`, async () => {
      return (await tasks(job)).filter(task => task.node !== null).length === count;
    });
  const end = async (id: string, state: 'TASK_FINISHED' | 'TASK_FAILED', ranMs = 1_000) => {
    const task = await present.tasks.get(id);
    const status = statusOf(id, state, { ranMs, at: clock.now() });
    await present.tasks.recordStatuses([status], { node: task?.node ?? '', receivedAt: clock.now() });
    const record = await present.tasks.get(id);
    if (record !== undefined) rounds.onEnded(record);
  };
  const start = async (id: string) => {
    const task = await present.tasks.get(id);
    const status = statusOf(id, 'TASK_RUNNING', { at: clock.now(), ready: true });
    await present.tasks.recordStatuses([status], { node: task?.node ?? '', receivedAt: clock.now() });
  };
  return {
    store: present,
    clock,
    log,
    told,
    placed,
    fleet,
    rounds,
    jobs,
    apply,
    tasks,
    placeOf,
    untilPlaced,
    eventually,
    end,
    start,
    stop,
  };
}

const cpus = (amount: number) => ({ resources: { cpus: amount } });
const batch = (names: readonly string[], more: object = {}) => ({
  type: 'batch',
  tasks: names.map(name => ({ name })),
  ...more,
});

t.test('a task that fits is placed: written, kept in the ledger, and its node is told', async t => {
  const { apply, untilPlaced, tasks, placed, rounds, store } = await stage(t, [nodeOf('pi-1')]);
  await apply('web', { ...cpus(0.5), ports: [{ name: 'http' }, { name: 'admin' }] });
  await untilPlaced('web', 1);
  const [task] = await tasks('web');
  t.match(task, { node: 'pi-1', state: 'TASK_STAGING', message: 'placed on pi-1' });
  t.match(task?.spec?.ports, [
    { name: 'http', number: 20_000 },
    { name: 'admin', number: 20_001 },
  ]);
  t.same(placed, [['pi-1']]);
  t.match(rounds.freeOn('pi-1'), {
    scalars: { cpus: 1_500 },
    ranges: { ports: [{ begin: 20_002, end: 20_009 }] },
  });
  t.match((await store.assignments.of('pi-1'))?.tasks, [{ id: task?.id }]);
});

t.test('where not all fit the highest priority goes first, whoever came first', async t => {
  const { apply, untilPlaced, placeOf, end, tasks } = await stage(t, [nodeOf('pi-1')]);
  await apply('low', { ...cpus(1.5), priority: 10 });
  await apply('high', { ...cpus(1.5), priority: 90 });
  await untilPlaced('high', 1);
  t.same(await placeOf('low'), ['0 null']);
  await end((await tasks('high'))[0]?.id ?? '', 'TASK_FINISHED');
  await untilPlaced('low', 1);
});

t.test('a task that has no place says why, node by node, until it has one', async t => {
  const { apply, eventually, rounds, tasks, fleet, untilPlaced } = await stage(t, [
    nodeOf('pi-1'),
    nodeOf('pi-2', {}, { state: 'unreachable' }),
    nodeOf('pi-3', {}, { birth: null, state: 'joined' }),
  ]);
  await apply('large', cpus(1.9));
  await untilPlaced('large', 1);
  await apply('more', cpus(1.9));
  const [task] = await tasks('more');
  const why = () => rounds.whyWaiting(task?.id ?? '');
  await eventually('it is known why', () => why() !== undefined);
  t.match(why()?.reasons, [
    { node: 'pi-1', why: /needs 1\.9 cpus, has 0\.1 cpus free/ },
    { node: 'pi-2', why: /is unreachable/ },
  ]);
  const back = nodeOf('pi-2');
  fleet.set('pi-2', back);
  rounds.onNode(back);
  await untilPlaced('more', 1);
  await eventually('nothing waits', () => why() === undefined);
});

t.test('constraints look at what the board and the operator say of a node', async t => {
  const { apply, untilPlaced, placeOf } = await stage(t, [
    nodeOf('pi-1', { attributes: { arch: 'arm64', zone: 'cellar' } }, { labels: { zone: 'roof' } }),
    nodeOf('pi-2', { attributes: { arch: 'x64' } }),
  ]);
  const on = (attribute: string, value: string) => ({
    constraints: [{ attribute, operator: 'in', values: [value] }],
  });
  await apply('intel', on('arch', 'x64'));
  await apply('roof', on('zone', 'roof'));
  await apply('named', on('node', 'pi-2'));
  await apply('nowhere', on('zone', 'cellar'));
  for (const job of ['intel', 'roof', 'named']) await untilPlaced(job, 1);
  t.same(await placeOf('intel'), ['0 pi-2']);
  t.same(await placeOf('roof'), ['0 pi-1'], 'the operator has the last word');
  t.same(await placeOf('named'), ['0 pi-2']);
  t.same(await placeOf('nowhere'), ['0 null']);
});

t.test('a node takes as many tasks as one message can tell it of; the others say so, and follow', async t => {
  const { apply, eventually, end, rounds, store, tasks, untilPlaced } = await stage(t, [
    nodeOf('pi-1'),
    nodeOf('pi-2'),
  ]);
  const sizeOfAll = async (node: string) => encodeMessage((await store.assignments.of(node))?.tasks ?? []).length;
  const on = (node: string) => ({
    resources: { cpus: 0, mem: 0 },
    constraints: [{ attribute: 'node', operator: 'in', values: [node] }],
  });
  await apply('many', { ...on('pi-1'), instances: maxTasksPerNode + 5, type: 'batch' });
  await untilPlaced('many', maxTasksPerNode);
  t.ok((await sizeOfAll('pi-1')) < messageBounds.down.maxBytes);
  const waits = (await tasks('many')).find(({ node }) => node === null)?.id ?? '';
  await eventually('it is known why', () => rounds.whyWaiting(waits) !== undefined);
  const why = 'its tasks take 1000 slots, has no more than 1000';
  t.match((await rounds.explain(waits))?.reasons[0], { node: 'pi-1', why });
  const first = (await tasks('many')).find(({ node }) => node !== null)?.id ?? '';
  await end(first, 'TASK_FINISHED');

  await untilPlaced('many', maxTasksPerNode + 1);

  const env = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, i) => [`V${i}`, 'x'.repeat(32_000)]));
  await apply('large', { ...on('pi-2'), env: env(32), instances: 5 });
  await untilPlaced('large', 3);
  t.ok((await sizeOfAll('pi-2')) < messageBounds.down.maxBytes);
  await apply('too-large', { ...on('pi-2'), env: env(140) });
  const [never] = await tasks('too-large');
  await eventually('it is known why', () => rounds.whyWaiting(never?.id ?? '')?.why === 'fits on no node');
});

t.test('services spread over the nodes', async t => {
  const { apply, untilPlaced, placeOf } = await stage(t, [nodeOf('pi-1'), nodeOf('pi-2')]);
  await apply('web', { ...cpus(0.1), instances: 2 });
  await untilPlaced('web', 2);
  t.same((await placeOf('web')).map(place => place.split(' ')[1]).sort(), ['pi-1', 'pi-2']);
});

t.test('a master that starts again knows who has what, and gives nothing twice', async t => {
  const before = await stage(t, [nodeOf('pi-1')]);
  await before.apply('a', { ...cpus(1.5), ports: [{ name: 'http' }] });
  await before.untilPlaced('a', 1);
  await before.stop();

  const after = await stage(t, [nodeOf('pi-1')], before.store);
  t.match(after.rounds.freeOn('pi-1'), {
    scalars: { cpus: 500 },
    ranges: { ports: [{ begin: 20_001, end: 20_009 }] },
  });
  await after.apply('b', { ...cpus(0.5), ports: [{ name: 'http' }] });
  await after.untilPlaced('b', 1);
  t.match((await after.tasks('b'))[0]?.spec?.ports, [{ number: 20_001 }]);
  t.same(after.placed, [['pi-1']], 'what was placed before is not placed again');
});

t.test('what waited when a master stopped is placed by the next', async t => {
  const before = await stage(t, [nodeOf('pi-1', {}, { state: 'unreachable' })]);
  await before.apply('web', {});
  await before.eventually(
    'it waits',
    async () => before.rounds.whyWaiting((await before.tasks())[0]?.id ?? '') !== undefined,
  );
  await before.stop();
  const after = await stage(t, [nodeOf('pi-1')], before.store);
  await after.untilPlaced('web', 1);
});

t.test('the end of a task frees what it had, once, however often it is told', async t => {
  const { apply, untilPlaced, tasks, end, rounds, log } = await stage(t, [nodeOf('pi-1')]);
  await apply('work', { ...batch(['a', 'b']), ...cpus(0.5) });
  await untilPlaced('work', 2);
  const [first] = await tasks('work');
  for (let i = 0; i < 3; i++) await end(first?.id ?? '', 'TASK_FAILED');
  t.equal(rounds.freeOn('pi-1')?.scalars.cpus, 1_500);
  t.same(log.all('the ledger refused an event'), []);
});

t.test('how long a finished task took is learned, over a restart of the master too', async t => {
  const before = await stage(t, [nodeOf('pi-1')]);
  const work = { type: 'batch', instances: 2, ...cpus(1.5) };
  await before.apply('work', work);
  await before.untilPlaced('work', 1);
  const [first] = await before.tasks('work');
  const unlearned = (first?.expectedEndAt ?? 0) - before.clock.now();
  await before.start(first?.id ?? '');
  await before.end(first?.id ?? '', 'TASK_FINISHED', 600_000);
  await before.untilPlaced('work', 2);
  const learned = ((await before.tasks('work'))[1]?.expectedEndAt ?? 0) - before.clock.now();
  t.ok(learned > 5 * unlearned, `${learned} ms after one that took 600,000 ms, ${unlearned} ms before`);
  await before.stop();

  const after = await stage(t, [nodeOf('pi-1')], before.store);
  const [, second] = await after.tasks('work');
  await after.end(second?.id ?? '', 'TASK_FINISHED', 600_000);
  await after.apply('work', { ...work, instances: 3 });
  await after.untilPlaced('work', 3);
  const still = ((await after.tasks('work'))[2]?.expectedEndAt ?? 0) - after.clock.now();
  t.ok(still > 5 * unlearned);
});

t.test('a task goes where its artifacts are, and what it fetched is not learned as a part of its start', async t => {
  const sha256 = 'ab'.repeat(32);
  const stock = { holds: { [sha256.slice(0, 16)]: 8_000_000 } };
  const nodes = [nodeOf('pi-1'), nodeOf('pi-2', {}, { stock })];
  const { apply, untilPlaced, placeOf, tasks, store, rounds, clock, start, end } = await stage(t, nodes);
  const artifacts = [{ source: `mesolite:${sha256}` }];
  const job = (more: object) => ({ type: 'batch', command: ['true'], expectedDuration: '2s', artifacts, ...more });
  await apply('first', job({}));
  await untilPlaced('first', 1);
  t.same(await placeOf('first'), ['0 pi-2']);
  await apply('other', job({ constraints: [{ attribute: 'node', operator: 'in', values: ['pi-1'] }] }));
  await untilPlaced('other', 1);
  const [task] = await tasks('other');
  t.equal((task?.expectedEndAt ?? 0) - clock.now() > 9_000, true, '8 MB at 8 Mbit/s, and its own 2 s');
  await clock.advance(8_500);
  await start(task?.id ?? '');
  const record = await store.tasks.get(task?.id ?? '');
  if (record !== undefined) rounds.onRecorded(record);
  await end(task?.id ?? '', 'TASK_FINISHED');
  const learned = await until('it is kept', async () => {
    await clock.advance(20);
    return (await store.estimates.list()).find(row => row.class === 'staging default/other' && row.profile !== '');
  });
  t.ok(Math.exp(learned.meanLn) < 1_000, `${Math.exp(learned.meanLn)} ms`);
});

t.test('a round that fails is tried again', async t => {
  const store = await openTestStore(t);
  await enterNode(store, 'pi-1');
  let failures = 0;
  const place: typeof store.assignments.place = async placements => {
    if (failures++ < 1) throw new Error('database or disk is full');
    return store.assignments.place(placements);
  };
  const broken = { ...store, assignments: { ...store.assignments, place } };
  const { apply, log, clock, untilPlaced, eventually, rounds } = await stage(t, [nodeOf('pi-1')], broken);
  await apply('web', cpus(0.5));
  await eventually('it failed', () => log.all('a round failed').length === 1);
  t.equal(rounds.freeOn('pi-1')?.scalars.cpus, 2_000, 'nothing is held by what was not written');
  await clock.advance(5_000);
  await untilPlaced('web', 1);
});

/** A node that is drained, with a service and a batch task on it; another one comes with `join`. */
async function drainedStage(t: Test, endAfterMs: number | null) {
  const staged = await stage(t, [nodeOf('pi-1')]);
  const { apply, untilPlaced, tasks, fleet, rounds, clock, store } = staged;
  await apply('web', cpus(0.1));
  await apply('work', { ...batch(['a']), ...cpus(0.1) });
  await untilPlaced('web', 1);
  await untilPlaced('work', 1);
  const endTasksAt = endAfterMs === null ? null : clock.now() + endAfterMs;
  const setDrain = (drain: FleetNode['drain']) => {
    fleet.set('pi-1', nodeOf('pi-1', {}, { drain: drain ?? null }));
    rounds.wake();
  };
  setDrain({ from: 1, until: null, endTasksAt });
  const join = async () => {
    fleet.set('pi-2', nodeOf('pi-2'));
    await enterNode(store, 'pi-2');
    rounds.onNode(nodeOf('pi-2'));
  };
  const on = async (job: string, node: string | null) =>
    (await tasks(job)).find(task => task.node === node && !task.stopping && task.state !== 'TASK_KILLED');
  return { ...staged, setDrain, join, on };
}

t.test(
  'a drained node takes nothing: a service leaves it when another is ready, a batch task when it has ended',
  async t => {
    const { eventually, on, join, start, end, told } = await drainedStage(t, null);
    await join();
    await eventually('another is placed elsewhere', async () => (await on('web', 'pi-2')) !== undefined);
    t.ok(await on('web', 'pi-1'), 'and the one that is there goes on');
    await start((await on('web', 'pi-2'))?.id ?? '');
    await eventually('then it is ended', async () => (await on('web', 'pi-1')) === undefined);
    t.ok(await on('work', 'pi-1'), 'the batch task goes on');
    await end((await on('work', 'pi-1'))?.id ?? '', 'TASK_FINISHED');
    t.equal(await on('web', null), undefined, 'nothing waits');
    t.strictSame(told, []);
  },
);

t.test('a service that fits nowhere else stays on the drained node, and an event says so', async t => {
  const { eventually, on, told, setDrain, tasks } = await drainedStage(t, null);
  await eventually('an event says so', () => told.length > 0);
  t.match(
    told[0],
    /^drain-waits pi-1: web\.default\.0-\S+ runs on here, as there is no other place for it: no node is available$/,
  );
  t.ok(await on('web', 'pi-1'));
  setDrain(null);
  await eventually(
    'what waited is withdrawn when the drain is over',
    async () => (await on('web', null)) === undefined,
  );
  t.match(await tasks('web'), [
    { node: 'pi-1', stopping: false },
    { node: null, state: 'TASK_KILLED' },
  ]);
});

t.test('at the end of the patience with it all leave a drained node, and it is said to be empty', async t => {
  const { eventually, on, told, clock, end, tasks } = await drainedStage(t, 60_000);
  await eventually('another waits', async () => (await on('web', null)) !== undefined);
  await clock.advance(60_000);
  await eventually('both are ended', async () => (await on('web', 'pi-1')) === undefined);
  t.ok(await on('web', null), 'one of them waits for another node');
  await eventually('so does the other', async () => (await on('work', null)) !== undefined);
  for (const { id, node } of await tasks()) if (node === 'pi-1') await end(id, 'TASK_FAILED');
  await eventually('it is empty', () => told.some(text => text.startsWith('node-drained pi-1')));
});

t.test('a task whose node is silent for longer than its job bears starts elsewhere, others wait', async t => {
  const { apply, untilPlaced, tasks, fleet, rounds, clock, eventually, store } = await stage(t, [nodeOf('pi-1')]);
  await apply('patient', cpus(0.1));
  await apply('web', { ...cpus(0.1), rescheduleAfter: '10m' });
  await untilPlaced('patient', 1);
  await untilPlaced('web', 1);
  fleet.set('pi-2', nodeOf('pi-2'));
  await enterNode(store, 'pi-2');
  rounds.onNode(nodeOf('pi-2'));
  fleet.set('pi-1', nodeOf('pi-1', {}, { state: 'unreachable', lastSeen: clock.now() }));
  rounds.wake();
  await clock.advance(9 * 60_000);
  t.equal((await tasks('web')).length, 1);
  await clock.advance(60_000);
  await eventually('it is on the other node', async () => (await tasks('web')).some(task => task.node === 'pi-2'));
  t.match(await tasks('patient'), [{ node: 'pi-1', stopping: false }]);
});

t.test('a task waits for the jobs and tasks that come before it, and says for which', async t => {
  const { rounds, apply, tasks, placeOf, untilPlaced, eventually, report } = await orderStage(t);
  await apply('web', { after: ['db', 'load'] });
  const waiting = async () => rounds.whyWaiting((await tasks('web'))[0]?.id ?? '')?.why;
  await eventually('it waits', async () => /job default\/db, which is not there/.test((await waiting()) ?? ''));
  const [{ id: web } = { id: '' }] = await tasks('web');
  const plan = await rounds.preview([], []);
  t.match(plan, { launches: [], waiting: [{ task: web, why: /which is not there/ }] }, 'a plan says so too');
  const planned = await rounds.preview([], [asJob(jobOf('db'))]);
  t.match(
    planned.waiting,
    [{ task: web, why: /^waits for job default\/db to be ready$/ }],
    'of what it has itself, too',
  );
  t.match(await rounds.explain(web), { why: /which is not there/ });
  await apply('db', {});
  await untilPlaced('db', 1);
  await eventually('it waits for it to be ready', async () => /default\/db to be ready/.test((await waiting()) ?? ''));
  await apply('load', { type: 'batch', tasks: [{ name: 'a' }, { name: 'b', after: ['a'] }] });
  await untilPlaced('load', 1);
  t.same(await placeOf('load'), ['a pi-1', 'b null']);
  await report('db', 'TASK_RUNNING', { ready: true });
  await eventually('the other is left', async () =>
    /default\/load: for a to finish and 1 more/.test((await waiting()) ?? ''),
  );
  await report('load', 'TASK_FINISHED');
  await untilPlaced('load', 2);
  t.same(await placeOf('web'), ['0 null']);
  await report('load', 'TASK_FINISHED');
  await untilPlaced('web', 1);
});

t.test('a system job has a task on each node that it is for, and nowhere else', async t => {
  const { jobs, fleet, apply, placeOf, untilPlaced, tasks } = await orderStage(t, {
    'pi-1': 'a',
    'pi-2': 'b',
    'pi-3': 'a',
  });
  await apply('probe', { type: 'system', constraints: [{ attribute: 'zone', operator: 'in', values: ['a'] }] });
  await untilPlaced('probe', 2);
  t.same(await placeOf('probe'), ['pi-1 pi-1', 'pi-3 pi-3']);
  const moved = fleet.get('pi-3');
  if (moved !== undefined) fleet.set('pi-3', { ...moved, labels: { zone: 'c' } });
  await jobs.spread();
  t.same((await tasks('probe')).map(({ label, stopping }) => [label, stopping]).sort(), [
    ['pi-1', false],
    ['pi-3', true],
  ]);
});

t.test('a drain waits for no task of a system job, and ends it at the end of its patience', async t => {
  const { apply, untilPlaced, tasks, fleet, rounds, clock, eventually, told } = await stage(t, [nodeOf('pi-1')]);
  await apply('probe', { type: 'system', ...cpus(0.1) });
  await untilPlaced('probe', 1);
  fleet.set('pi-1', nodeOf('pi-1', {}, { drain: { from: 1, until: null, endTasksAt: clock.now() + 60_000 } }));
  rounds.wake();
  await eventually('it is drained', () => told.some(text => text.startsWith('node-drained pi-1')));
  t.match(await tasks('probe'), [{ node: 'pi-1', stopping: false }]);
  await clock.advance(60_000);
  await eventually('it is ended', async () => (await tasks('probe')).some(task => task.stopping));
});

/** A stage with labels of nodes, whose tasks report. */
async function orderStage(t: Test, zones: Readonly<Record<string, string>> = { 'pi-1': 'a' }) {
  const board = await stage(
    t,
    Object.entries(zones).map(([id, zone]) => nodeOf(id, {}, { labels: { zone } })),
  );
  /** Of the oldest that has a place and no end. */
  const report = async (job: string, state: TaskState, more: object = {}) => {
    const task = (await board.tasks(job)).find(each => each.node !== null && !isTerminal(each.state));
    if (task?.node == null) throw new Error(`${job} has no place`);
    await board.store.tasks.recordStatuses([statusOf(task.id, state, more)], { node: task.node, receivedAt: 1 });
    board.rounds.onReady();
    const now = await board.store.tasks.get(task.id);
    if (now !== undefined && isTerminal(state)) board.rounds.onEnded(now);
  };
  return { ...board, report };
}
t.test('a task that preempts gets the place of one of lower priority, which is told why and waits again', async t => {
  const { apply, untilPlaced, tasks, store, rounds, end, eventually, placed } = await stage(t, [nodeOf('pi-1')]);
  await apply('low', { ...cpus(1.5), ...batch(['a']), priority: 10 });
  await untilPlaced('low', 1);
  const [victim] = await tasks('low');
  await apply('polite', { ...cpus(1.5), ...batch(['a']), priority: 95 });
  await apply('high', { ...cpus(1.5), ...batch(['a']), priority: 90, preempts: true });
  await eventually('the first is told to end', async () => (await tasks('low')).some(task => task.stopping));
  t.match(await store.tasks.get(victim?.id ?? ''), {
    state: 'TASK_KILLING',
    reason: 'REASON_CONTAINER_PREEMPTED',
    message: /^ended for high\.default\.a-/,
  });
  t.equal(placed.length, 1, 'nobody gets the place before it is free');
  await end(victim?.id ?? '', 'TASK_FAILED');
  await untilPlaced('high', 1);
  t.match(await store.tasks.get(victim?.id ?? ''), { state: 'TASK_FAILED', reason: 'REASON_CONTAINER_PREEMPTED' });
  t.match(
    (await tasks('low')).filter(task => task.state === 'TASK_STAGING'),
    [{ node: null }],
  );
  t.same(
    (await tasks('polite')).map(({ node }) => node),
    [null],
  );
  t.equal(rounds.freeOn('pi-1')?.scalars.cpus, 500);
});

import t from 'tap';
import { decode } from '../../src/base/shape.ts';
import type { FleetNode } from '../../src/master/fleet.ts';
import { asJob } from '../../src/master/jobs.ts';
import { noteOnTask, viewJob, viewNode, viewTask } from '../../src/master/views.ts';
import { jobViewSchema, nodeViewSchema, taskViewSchema } from '../../src/model/api.ts';
import type { TaskState } from '../../src/model/task.ts';
import type { TaskRecord } from '../../src/store/task-record.ts';
import { birthOf, jobOf, newTask } from '../fixtures/master-store.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const node = (more: Partial<FleetNode> = {}): FleetNode => ({
  id: 'pi-1',
  labels: { zone: 'roof' },
  joinedAt: 1,
  state: 'ready',
  lastSeen: 2,
  birth: birthOf({ attributes: { arch: 'arm64', zone: 'cellar' } }),
  usage: birthOf().usage,
  boot: 1,
  quarantine: null,
  ...more,
});

const at = { createdAt: 7, now: 0 };

const task = (more: Partial<TaskRecord> = {}): TaskRecord => ({
  ...newTask('web.default.0'),
  node: 'pi-1',
  state: 'TASK_RUNNING',
  ready: true,
  stopping: false,
  spec: taskSpec({ ports: [{ name: 'http', protocol: 'http', number: 20_000 }] }),
  startedAt: 5,
  endedAt: null,
  expectedEndAt: null,
  restarts: 0,
  reason: null,
  message: null,
  exitCode: null,
  signal: null,
  pid: 7,
  framework: null,
  frameworkTask: null,
  ranMs: null,
  ...more,
});

t.test('a node shows itself with the operator’s labels on top, once it has introduced itself', async t => {
  const view = viewNode(node(), undefined, { tasks: 3 });
  t.match(view, { node: 'pi-1', state: 'ready', attributes: { arch: 'arm64', zone: 'roof' }, tasks: 3, lastSeen: 2 });
  t.same(view?.free, { scalars: {}, ranges: {}, sets: {} });
  t.doesNotThrow(() => decode(nodeViewSchema, view, 'view'));
  t.equal(viewNode(node({ birth: null, usage: null }), undefined, { tasks: 0 }), undefined);
  t.equal(viewNode(node({ state: 'unreachable' }), undefined, { tasks: 0 })?.state, 'unreachable');
  t.equal(
    viewNode(node({ state: 'joined' }), undefined, { tasks: 0 })?.state,
    'unreachable',
    'joined anew, and not heard since',
  );
  t.match(viewNode(node({ state: 'quarantined', quarantine: 'two of it' }), undefined, { tasks: 0 }), {
    state: 'quarantined',
    quarantine: 'two of it',
  });
});

t.test('a task shows how it is, and one that is to end that it ends', async t => {
  const view = viewTask(task(), undefined, {});
  t.match(view, { state: 'TASK_RUNNING', ready: true, ports: [{ name: 'http', number: 20_000 }], waiting: [] });
  t.notOk(Object.hasOwn(view.ports[0] ?? {}, 'protocol'));
  t.doesNotThrow(() => decode(taskViewSchema, view, 'view'));
  t.equal(viewTask(task({ stopping: true }), undefined, {}).state, 'TASK_KILLING');
  t.equal(viewTask(task({ stopping: true, state: 'TASK_KILLED' }), undefined, {}).state, 'TASK_KILLED');
});

t.test('how far tasks are shows, on the task and over the whole batch, and moves the expected end', async t => {
  const job = asJob(jobOf('work', { type: 'batch', instances: 4 }));
  const batch = task({ type: 'batch', startedAt: 0, expectedEndAt: 1_000 });
  const told = { percent: 50, message: 'half', at: 2_000 };
  const running = viewTask(batch, job, { progress: told });
  t.match(running, { progress: told, expectedEndAt: 2_500 });
  t.doesNotThrow(() => decode(taskViewSchema, running, 'view'));
  t.equal(viewTask({ ...batch, state: 'TASK_FINISHED' }, job, { progress: told }).progress, null);
  const done = { ...batch, state: 'TASK_FINISHED' as const };
  const views = [running, viewTask(done, job, {})];
  t.match(viewJob(job, [batch, done], views, at), { progress: 37, expectedEndAt: 2_500 });
  t.equal(viewJob(asJob(jobOf('web')), [task()], [viewTask(task(), undefined, { progress: told })], at).progress, null);
});

t.test('a task that waits shows what it needs and why it waits; one that has a place does not', async t => {
  const job = asJob(jobOf('web', { resources: { cpus: 1, mem: 64 } }));
  const waits = task({ node: null, spec: null, state: 'TASK_STAGING', ready: false, startedAt: null });
  const waiting = {
    task: waits.id,
    why: 'no node has room',
    reasons: [{ node: 'pi-1', why: 'needs 1 cpus, has 0.1 cpus free' }],
    expected: { node: 'pi-1', startAt: 10, endAt: 20 },
  };
  t.match(viewTask(waits, job, { waiting }), {
    message: 'no node has room',
    waiting: waiting.reasons,
    expectedEndAt: 20,
    resources: { scalars: { cpus: 1_000, mem: 64_000 } },
    ports: [],
  });
  t.match(viewTask(task({ message: 'exit code 3' }), job, { waiting }), { message: 'exit code 3', waiting: [] });
  t.match(viewTask(waits, undefined, {}), { message: null, resources: { scalars: {} } });
});

t.test('a job shows where its tasks are; what it has replaced does not count', async t => {
  const job = asJob(jobOf('work', { type: 'batch', tasks: ['a', 'b', 'c', 'd', 'e', 'f'].map(name => ({ name })) }));
  const states: readonly (readonly [TaskState, Partial<TaskRecord>])[] = [
    ['TASK_STAGING', { node: null, expectedEndAt: null, ready: false }],
    ['TASK_STARTING', { ready: false, expectedEndAt: 500 }],
    ['TASK_RUNNING', { expectedEndAt: 900, submittedAt: 40 }],
    ['TASK_FINISHED', { endedAt: 100, expectedEndAt: 5_000, ready: false }],
    ['TASK_FAILED', { endedAt: 100, ready: false }],
    ['TASK_KILLED', { stopping: true, submittedAt: 99 }],
    ['TASK_RUNNING', { stopping: true }],
  ];
  const tasks = states.map(([state, more]) => task({ state, type: 'batch', ...more }));
  const views = tasks.map(each => viewTask(each, job, {}));
  const view = viewJob(job, tasks, views, at);
  t.match(view, { name: 'work', type: 'batch', wanted: 6, pending: 2, running: 1, ready: 1, finished: 1, failed: 1 });
  t.match(view, { createdAt: 7, expectedEndAt: 900 });
  t.doesNotThrow(() => decode(jobViewSchema, view, 'view'));
  t.match(viewJob(asJob(jobOf('web', { instances: 4 })), [], [], at), { wanted: 4, pending: 0, expectedEndAt: null });
});

t.test(
  'what a task says of itself is called old where its node is not heard, and temporary where it is drained',
  async t => {
    const drain = { from: 10, until: null, endTasksAt: null };
    t.equal(noteOnTask(node(), 'service', 20), undefined);
    t.match(noteOnTask(node({ state: 'quarantined' }), 'service', 20), /^as last heard: .* quarantine$/);
    t.match(noteOnTask(node({ state: 'unreachable' }), 'batch', 20), /^as last heard: .* unreachable$/);
    t.equal(noteOnTask(node({ drain }), 'service', 5), undefined, 'not before it begins');
    t.match(noteOnTask(node({ drain }), 'service', 20), /is drained: it ends when another is ready/);
    t.equal(noteOnTask(node({ drain }), 'batch', 20), 'its node is drained');
    t.equal(viewTask(task(), undefined, { note: 'old' }).note, 'old');
    t.notOk('note' in viewTask(task({ state: 'TASK_FINISHED' }), undefined, { note: 'old' }));
  },
);

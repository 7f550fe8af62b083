/** What frameworks get from a master: offers, launches, updates, and what becomes of them when somebody goes away. */
import t from 'tap';
import { birthOf } from '../../fixtures/master-store.ts';
import { type Json, type MesosFramework, openStream, taskOn } from '../../fixtures/mesos-client.ts';
import { mesosStage, nodeOf } from '../../fixtures/mesos-stage.ts';

const cpusOf = ({ resources }: Json) => resources.find((each: Json) => each.name === 'cpus')?.scalar.value;
const offersOf = ({ stream }: MesosFramework) => stream.events.filter(({ type }) => type === 'OFFERS').length;
const lastUpdate = async ({ stream }: MesosFramework) => (await stream.next('UPDATE')).update.status;

t.test('an offer has all that older clients look into, and is for one framework alone', async t => {
  const nodes = [nodeOf('pi-1', { attributes: { zone: 'Küche' } })];
  const { subscribe, clock, eventually } = await mesosStage(t, { nodes });
  const [a, b] = [await subscribe(), await subscribe()];
  await eventually('one has an offer', () => offersOf(a) + offersOf(b) > 0);
  const offer = await (offersOf(a) > 0 ? a : b).offer();
  t.match(offer, {
    id: { value: /./ },
    agent_id: { value: 'pi-1' },
    hostname: 'pi-1',
    url: { address: { ip: '10.0.0.7', port: 15_008 } },
    attributes: [{ name: 'zone', type: 'TEXT', text: { value: 'Küche' } }],
    resources: [
      { name: 'cpus', type: 'SCALAR', scalar: { value: 2 }, role: '*' },
      { name: 'mem', scalar: { value: 1_000 } },
      { name: 'disk', scalar: { value: 10_000 } },
      { name: 'ports', type: 'RANGES', ranges: { range: [{ begin: 20_000, end: 20_009 }] } },
    ],
  });
  await clock.advance(10_000);
  t.equal(offersOf(a) + offersOf(b), 0, 'nobody else is offered it');
  t.equal(a.stream.odd + b.stream.odd, 0, 'each record is a piece of its own');
});

t.test('what is declined is offered again after refuse_seconds, or when there is more, or to who revives', async t => {
  const { subscribe, clock, eventually, rounds } = await mesosStage(t);
  const framework = await subscribe();
  const decline = async (seconds: number) => {
    const { id } = await framework.offer();
    await framework.call('DECLINE', { decline: { offer_ids: [id], filters: { refuse_seconds: seconds } } });
  };
  await decline(60);
  await clock.advance(50_000);
  t.equal(offersOf(framework), 0);
  await clock.advance(11_000);
  await decline(3_600);
  await framework.call('REVIVE');
  await decline(3_600);
  await framework.call('SUPPRESS');
  await clock.advance(3_700_000);
  rounds.wake();
  await clock.advance(1_000);
  t.equal(offersOf(framework), 0, 'who wants none gets none');
  await framework.call('REVIVE', { revive: { roles: ['*'] } });
  await eventually('there is an offer', () => offersOf(framework) === 1);
});

t.test('declining without a filter does not make the master spin', async t => {
  const { subscribe, clock } = await mesosStage(t);
  const framework = await subscribe();
  const { id } = await framework.offer();
  await framework.call('DECLINE', { decline: { offer_ids: [id], filters: { refuse_seconds: 0 } } });
  await clock.advance(900);
  t.equal(offersOf(framework), 0, 'not before the next allocation');
});

t.test('a task uses a part of an offer, and the rest is free', async t => {
  const { subscribe, taskOf, assigned, store, rounds } = await mesosStage(t);
  const framework = await subscribe({ name: 'Build Farm' });
  const offer = await framework.offer();
  const ports = { name: 'ports', type: 'RANGES', ranges: { range: [{ begin: 20_003, end: 20_003 }] } };
  const cpus = { name: 'cpus', type: 'SCALAR', scalar: { value: 0.5 } };
  await framework.launch(offer, [taskOn(offer, 'build/7'.replace('/', '-'), 'make', { resources: [cpus, ports] })], 0);
  const task = await taskOf(framework.id, 'build-7');
  t.match(task, { node: 'pi-1', state: 'TASK_STAGING', role: '*', namespace: 'frameworks', job: 'build-farm' });
  t.match(task.spec, {
    command: ['/bin/sh', '-c', 'make'],
    env: { GREETING: 'hello' },
    serviceAccount: 'admin',
    labels: { app: 'build-farm' },
    restart: { policy: 'never' },
  });
  t.same(assigned, ['pi-1']);
  t.match((await store.assignments.of('pi-1'))?.tasks, [{ id: task.id }]);
  t.equal(rounds.freeOn('pi-1')?.scalars.cpus, 1_500);
  t.equal(cpusOf(await framework.offer()), 1.5);
});

t.test('a command without a shell is its argument vector', async t => {
  const { subscribe, taskOf } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  const command = { shell: false, value: '/bin/echo', arguments: ['echo', 'a', 'b c'] };
  const health_check = { type: 'HTTP', http: { port: 20_001, path: '/up' }, delay_seconds: 1, consecutive_failures: 2 };
  const more = {
    command,
    health_check,
    kill_policy: { grace_period: { nanoseconds: 9e9 } },
    max_completion_time: { nanoseconds: 60e9 },
    labels: {
      labels: [
        { key: 'app', value: 'other' },
        { key: 'tier', value: 'web' },
      ],
    },
  };
  await framework.launch(offer, [taskOn(offer, 't', '', more)]);
  t.match((await taskOf(framework.id, 't')).spec, {
    command: ['/bin/echo', 'a', 'b c'],
    killGraceMs: 9_000,
    maxRunMs: 60_000,
    labels: { app: 'test', tier: 'web' },
    health: { type: 'http', port: 'health', path: '/up', initialDelayMs: 1_000, gracePeriodMs: 10_000, threshold: 2 },
    ports: [{ name: 'health', number: 20_001 }],
  });
});

t.test('a command that checks the health of a task is a program that its node runs', async t => {
  const { subscribe, taskOf } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  const health_check = { type: 'COMMAND', command: { value: 'test -e up' }, grace_period_seconds: 60 };
  await framework.launch(offer, [taskOn(offer, 't', 'x', { health_check })]);
  t.match((await taskOf(framework.id, 't')).spec, {
    health: { type: 'exec', command: ['/bin/sh', '-c', 'test -e up'], gracePeriodMs: 60_000 },
    ports: [],
  });
});

t.test('what cannot be run is a TASK_ERROR with its reason, and does not harm what can', async t => {
  const { subscribe, taskOf } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  const shell = (more: object) => ({ command: { shell: true, value: 'x', ...more } });
  const bad: [string, object, RegExp][] = [
    ['executor', { executor: { executor_id: { value: 'e' } } }, /no executors are run/],
    ['container', { container: { type: 'DOCKER' } }, /no containers are run/],
    ['nothing', { command: null }, /command: required/],
    ['uris', shell({ uris: [{ value: 'http://x/y.tgz' }] }), /uris/],
    ['secret', shell({ environment: { variables: [{ name: 'A', type: 'SECRET' }] } }), /SECRET/],
    ['name', shell({ environment: { variables: [{ name: 'A B', value: 'x' }] } }), /"A B"/],
    ['check', { health_check: { type: 'COMMAND' } }, /expected http, tcp, or a command/],
    ['elsewhere', { agent_id: { value: 'pi-2' } }, /agent pi-2/],
    [
      'large',
      { resources: [{ name: 'cpus', scalar: { value: 3 } }] },
      /more resources than were offered: needs 3 cpus/,
    ],
    ['port', { resources: [{ name: 'ports', ranges: { range: [{ begin: 1, end: 2 }] } }] }, /ports/],
    ['disk', { resources: [{ name: 'disk', scalar: { value: 1 }, disk: { persistence: {} } }] }, /not supported/],
    ['odd', { resources: [{ name: 'CPUS', scalar: { value: 1 } }] }, /expected a resource/],
    ['empty', { resources: [] }, /at least some/],
    ['a/b', {}, /no slash/],
    ['twice', {}, /duplicate/],
  ];
  const tasks = bad.map(([id, more]) => taskOn(offer, id, 'x', more));
  await framework.launch(offer, [taskOn(offer, 'twice', 'x'), ...tasks, taskOn(offer, 'good', 'x')]);
  for (const [id, , message] of bad) {
    const status = await lastUpdate(framework);
    t.match(status, { task_id: { value: id }, state: 'TASK_ERROR', reason: 'REASON_TASK_INVALID', message }, id);
    t.notOk('uuid' in status, 'it is not to be acknowledged');
  }
  t.equal((await taskOf(framework.id, 'good')).state, 'TASK_STAGING');
});

t.test('a node is given no more tasks than one message can tell it of', async t => {
  const { subscribe, store } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  const variables = Array.from({ length: 20 }, (_, i) => ({ name: `V${i}`, value: 'x'.repeat(30_000) }));
  const large = (id: string) =>
    taskOn(offer, id, 'x', { command: { shell: true, value: 'x', environment: { variables } } });
  await framework.launch(offer, ['a', 'b', 'c', 'd', 'e', 'f'].map(large), 0);
  await framework.launch(await framework.offer(), [large('g'), taskOn(offer, 'small', 'x')], 0);
  const message = /takes no more than 1000 tasks/;
  t.match(await lastUpdate(framework), { task_id: { value: 'g' }, reason: 'REASON_TASK_INVALID', message });
  t.equal((await store.tasks.list()).length, 7);
});

t.test('a group is launched whole or not at all', async t => {
  const { subscribe, store } = await mesosStage(t);
  const framework = await subscribe();
  const group = (offer: Json, tasks: Json[]) => ({
    offer_ids: [offer.id],
    operations: [{ type: 'LAUNCH_GROUP', launch_group: { executor: {}, task_group: { tasks } } }],
    filters: { refuse_seconds: 0 },
  });
  const offer = await framework.offer();
  const bad = taskOn(offer, 'b', 'x', { container: {} });
  await framework.call('ACCEPT', { accept: group(offer, [taskOn(offer, 'a', 'x'), bad]) });
  t.match(
    [await lastUpdate(framework), await lastUpdate(framework)],
    [
      { task_id: { value: 'b' }, reason: 'REASON_TASK_INVALID' },
      { task_id: { value: 'a' }, reason: 'REASON_TASK_GROUP_INVALID' },
    ],
  );
  t.equal((await store.tasks.list()).length, 0);
  const again = await framework.offer();
  await framework.call('ACCEPT', { accept: group(again, [taskOn(again, 'a', 'x'), taskOn(again, 'b', 'x')]) });
  t.equal((await store.tasks.list()).length, 2);
});

t.test('an offer is used once: what comes later, or from another, is lost with the reason', async t => {
  const { subscribe } = await mesosStage(t);
  const [a, aware] = [await subscribe(), await subscribe({ capabilities: ['PARTITION_AWARE'] })];
  const offer = await a.offer();
  await aware.launch(offer, [taskOn(offer, 'stolen', 'x')]);
  t.match(await lastUpdate(aware), { state: 'TASK_DROPPED', reason: 'REASON_INVALID_OFFERS' });
  await a.launch(offer, [taskOn(offer, 'first', 'x')]);
  await a.launch(offer, [taskOn(offer, 'second', 'x')]);
  t.match(await lastUpdate(a), {
    task_id: { value: 'second' },
    state: 'TASK_LOST',
    reason: 'REASON_INVALID_OFFERS',
    source: 'SOURCE_MASTER',
  });
});

t.test('updates come one after the other, each again until it is acknowledged', async t => {
  const { subscribe, report, clock } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  await framework.launch(offer, [taskOn(offer, 't', 'x')]);
  await report(framework, 't', 'TASK_STARTING');
  await report(framework, 't', 'TASK_RUNNING', { pid: 7 });
  const end = { exitCode: 1, reason: 'REASON_COMMAND_EXECUTOR_FAILED', message: 'exit code 1' };
  await report(framework, 't', 'TASK_FAILED', end);
  const starting = await lastUpdate(framework);
  t.match(starting, { state: 'TASK_STARTING', executor_id: { value: 't' }, timestamp: Number });
  for (const seconds of [11, 21, 41]) {
    await clock.advance(seconds * 1_000);
    t.same(await lastUpdate(framework), starting, `again within ${seconds} s`);
  }
  const other = Buffer.alloc(16, 1).toString('base64');
  await framework.acknowledge({ ...starting, uuid: other });
  t.notOk(
    framework.stream.events.some(({ type }) => type === 'UPDATE'),
    'another uuid acknowledges nothing',
  );
  await framework.acknowledge(starting);
  t.match(await framework.update('t'), { state: 'TASK_RUNNING', source: 'SOURCE_EXECUTOR' });
  t.match(await framework.update('t'), { state: 'TASK_FAILED', ...{ reason: end.reason, message: end.message } });
  await clock.advance(1_000_000);
  t.notOk(
    framework.stream.events.some(({ type }) => type === 'UPDATE'),
    'what is acknowledged is said no more',
  );
});

t.test('a name is free again when its end has been acknowledged', async t => {
  const { subscribe, report } = await mesosStage(t);
  const framework = await subscribe();
  const launch = async () => {
    const offer = await framework.offer();
    await framework.launch(offer, [taskOn(offer, 't', 'x')], 0);
  };
  await launch();
  await report(framework, 't', 'TASK_FINISHED');
  const status = await lastUpdate(framework);
  await launch();
  t.match(await lastUpdate(framework), { state: 'TASK_ERROR', message: /duplicate/ });
  await framework.acknowledge(status);
  await launch();
  await report(framework, 't', 'TASK_RUNNING');
  t.match(await framework.update('t'), { state: 'TASK_RUNNING' });
});

t.test('KILL takes a task from its node, and says so of one that is not there', async t => {
  const { subscribe, report, taskOf, store, assigned } = await mesosStage(t);
  const framework = await subscribe();
  const offer = await framework.offer();
  await framework.launch(offer, [taskOn(offer, 't', 'x')]);
  const kill = (task: string) => framework.call('KILL', { kill: { task_id: { value: task } } });
  await kill('t');
  t.match(await taskOf(framework.id, 't'), { stopping: true });
  t.same((await store.assignments.of('pi-1'))?.tasks, []);
  t.same(assigned, ['pi-1', 'pi-1']);
  await report(framework, 't', 'TASK_KILLING');
  await report(framework, 't', 'TASK_KILLED');
  t.match(await framework.update('t'), { state: 'TASK_KILLED' }, 'TASK_KILLING is for who knows it');
  await kill('nothing');
  t.match(await lastUpdate(framework), { task_id: { value: 'nothing' }, state: 'TASK_LOST' });
});

t.test('RECONCILE tells how tasks stand, without a uuid: those that are asked for, or all that live', async t => {
  const { subscribe, report } = await mesosStage(t);
  const framework = await subscribe({ capabilities: ['PARTITION_AWARE'] });
  const offer = await framework.offer();
  await framework.launch(offer, [taskOn(offer, 'a', 'x'), taskOn(offer, 'b', 'x')]);
  await report(framework, 'a', 'TASK_FINISHED');
  await framework.update('a');
  const ask = (...tasks: [string, string?][]) =>
    framework.call('RECONCILE', {
      reconcile: {
        tasks: tasks.map(([id, agent]) => ({ task_id: { value: id }, agent_id: agent && { value: agent } })),
      },
    });
  await ask();
  const status = await lastUpdate(framework);
  t.match(status, { task_id: { value: 'b' }, state: 'TASK_STAGING', reason: 'REASON_RECONCILIATION' });
  t.notOk('uuid' in status);
  await ask(['a'], ['x', 'pi-1'], ['y', 'gone'], ['z']);
  const states = [];
  for (let i = 0; i < 4; i++) states.push((await lastUpdate(framework)).state);
  t.same(states, ['TASK_FINISHED', 'TASK_GONE', 'TASK_UNKNOWN', 'TASK_UNKNOWN']);
});

t.test('a master that starts again knows its frameworks, and tells what they have not acknowledged', async t => {
  const before = await mesosStage(t);
  const first = await before.subscribe({ failoverSeconds: 0 });
  const offer = await first.offer();
  await first.launch(offer, [taskOn(offer, 't', 'x')]);
  await before.report(first, 't', 'TASK_RUNNING');
  await lastUpdate(first);
  await before.stop();

  const after = await mesosStage(t, { store: before.store });
  t.match(await after.taskOf(first.id, 't'), { stopping: false }, 'a master that stops is no framework that went away');
  await after.report(first, 't', 'TASK_FINISHED');
  const again = await after.subscribe({ id: first.id });
  t.match(await again.update('t'), { state: 'TASK_RUNNING' });
  t.match(await again.update('t'), { state: 'TASK_FINISHED' });
  t.match(after.mesos.list(), [{ id: first.id, principal: 'admin' }]);
});

t.test('tasks run on while their framework is away, and end with its failover timeout', async t => {
  const { subscribe, taskOf, clock, eventually, mesos, rounds, target } = await mesosStage(t);
  const framework = await subscribe({ failoverSeconds: 100 });
  const offer = await framework.offer();
  await framework.launch(offer, [taskOn(offer, 't', 'x')], 0);
  await framework.offer();
  framework.stream.close();
  await eventually('it is away', () => mesos.get(framework.id)?.stream === undefined);
  t.equal(rounds.freeOn('pi-1')?.scalars.cpus, 1_900, 'its offers are taken back');
  await clock.advance(95_000);
  t.match(await taskOf(framework.id, 't'), { stopping: false });
  await clock.advance(6_000);
  await eventually('it is removed', () => mesos.get(framework.id) === undefined);
  await eventually('its task ends', async () => (await taskOf(framework.id, 't')).stopping);
  const call = {
    type: 'SUBSCRIBE',
    subscribe: { framework_info: { user: 'u', name: 'n', id: { value: framework.id } } },
  };
  const refused = await openStream(target, '/api/v1/scheduler', call);
  t.match(await refused.next('ERROR'), { error: { message: 'Framework has been removed' } });
});

t.test(
  'a node that is silent takes its offers back, and its tasks are told of as each framework understands it',
  async t => {
    const { subscribe, say } = await mesosStage(t);
    const plain = await subscribe();
    const offer = await plain.offer();
    await plain.launch(offer, [taskOn(offer, 't', 'x')], 0);
    const left = await plain.offer();
    say(nodeOf('pi-1', {}, { state: 'unreachable' }));
    t.match(await plain.stream.next('RESCIND'), { rescind: { offer_id: left.id } });
    t.match(await plain.stream.next('FAILURE'), { failure: { agent_id: { value: 'pi-1' } } });
    t.match(await lastUpdate(plain), { state: 'TASK_LOST', reason: 'REASON_AGENT_REMOVED', source: 'SOURCE_MASTER' });
    say(nodeOf('pi-1'));
    t.match(await lastUpdate(plain), { state: 'TASK_STAGING', reason: 'REASON_AGENT_REREGISTERED' });
    const aware = await subscribe({ id: plain.id, capabilities: ['PARTITION_AWARE'] });
    say(nodeOf('pi-1', {}, { state: 'unreachable' }));
    t.match(await lastUpdate(aware), { state: 'TASK_UNREACHABLE' });
  },
);

t.test('jobs and frameworks share: a job that waits gets what a framework sits on', async t => {
  const { subscribe, apply, clock, eventually, store } = await mesosStage(t);
  const framework = await subscribe();
  const { id } = await framework.offer();
  await apply('web', { resources: { cpus: 1 } });
  await clock.advance(1_000);
  t.same(
    (await store.tasks.list()).map(({ node }) => node),
    [null],
    'it is on offer',
  );
  await eventually('it is taken back', () => framework.stream.events.some(({ type }) => type === 'RESCIND'));
  t.match(await framework.stream.next('RESCIND'), { rescind: { offer_id: id } });
  await eventually('the job has its place', async () => (await store.tasks.list())[0]?.node === 'pi-1');
  t.equal(cpusOf(await framework.offer()), 1, 'and the framework the rest');
});

t.test(
  'an offer stands when its node introduces itself again, and others listen on ports that were never in it',
  async t => {
    const total = (end: number) => {
      const { scalars, ranges } = birthOf().total;
      return { scalars, ranges: { ...ranges, 'node-ports': [{ begin: 1024, end }] }, sets: {} };
    };
    const { subscribe, say, taskOf } = await mesosStage(t, { nodes: [nodeOf('pi-1', { total: total(2_000) })] });
    const framework = await subscribe();
    const offer = await framework.offer();
    say(nodeOf('pi-1', { total: total(1_500) }));
    await framework.launch(offer, [taskOn(offer, 't', 'x')]);
    t.equal((await taskOf(framework.id, 't')).state, 'TASK_STAGING');
  },
);

t.test('two roles get the nodes in turn', async t => {
  const nodes = ['pi-1', 'pi-2', 'pi-3', 'pi-4'].map(id => nodeOf(id));
  const { subscribe } = await mesosStage(t, { nodes });
  const { stream } = await subscribe({ roles: ['a', 'b'] });
  const { offers } = (await stream.next('OFFERS')).offers;
  const roles = offers.map(({ allocation_info }: Json) => allocation_info.role);
  t.same(roles.sort(), ['a', 'a', 'b', 'b']);
  t.ok(offers.every(({ resources }: Json) => resources[0].allocation_info.role.length === 1));
});

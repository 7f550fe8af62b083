/** What Mesos' operators see: the v1 API, its events, and the endpoints of before it. */
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import t, { type Test } from 'tap';
import { openEventStream } from '../../../src/master/mesos/event-stream.ts';
import { ask, type Json, openStream, taskOn } from '../../fixtures/mesos-client.ts';
import { basic, mesosStage, nodeOf } from '../../fixtures/mesos-stage.ts';

const json = { 'content-type': 'application/json' };

async function stage(t: Test) {
  const all = await mesosStage(t, { nodes: [nodeOf('pi-1'), nodeOf('pi-2', {}, { state: 'unreachable' })] });
  const framework = await all.subscribe({ name: 'farm' });
  const offer = await framework.offer();
  await framework.launch(offer, [taskOn(offer, 'a', 'x'), taskOn(offer, 'b', 'x')]);
  await all.report(framework, 'a', 'TASK_RUNNING');
  await all.report(framework, 'b', 'TASK_FINISHED');
  await all.apply('web', { resources: { cpus: 64 } });
  await all.eventually('the job waits', () => all.rounds.hasWaiting);
  const get = async (path: string) => {
    const { status, text } = await ask(all.target, 'GET', path);
    t.equal(status, 200, path);
    return JSON.parse(text) as Json;
  };
  const post = (call: object | string, headers: Record<string, string> = json) =>
    ask(all.target, 'POST', '/api/v1', headers, typeof call === 'string' ? call : JSON.stringify(call));
  /** As clients read an answer. */
  const read = async (type: string, more: object = {}) => {
    const { status, text } = await post({ type, ...more });
    t.equal(status, 200, type);
    return JSON.parse(text)[type.toLowerCase()] as Json;
  };
  return { ...all, framework, get, post, read };
}

t.test('each call that reads is answered under its own name in small letters', async t => {
  const { read, framework } = await stage(t);
  t.same(await read('GET_HEALTH'), { healthy: true });
  t.match((await read('GET_VERSION')).version_info, { version: /^1\.\d+\.\d+$/, git_tag: /1\.2\.3/ });
  t.match(await read('GET_MASTER'), { master_info: { id: 'master-1' } });
  t.same((await read('GET_FLAGS')).flags, []);
  t.match(await read('GET_ROLES'), {
    roles: [
      {
        name: '*',
        weight: 1,
        frameworks: [{}, { value: framework.id }],
        resources: [{ name: 'cpus', scalar: { value: 2 } }, {}],
      },
      { name: 'eng', weight: 2, frameworks: [] },
    ],
  });
  const { metrics } = await read('GET_METRICS', { get_metrics: { timeout: { nanoseconds: 5e9 } } });
  t.equal(metrics.find(({ name }: Json) => name === 'master/tasks_running').value, 1);
  const { agents } = await read('GET_AGENTS');
  t.match(agents, [
    {
      agent_info: { id: { value: 'pi-1' }, hostname: 'pi-1', port: 15_008 },
      active: true,
      pid: 'slave(1)@10.0.0.7:15008',
      registered_time: { nanoseconds: Number },
      total_resources: [{ name: 'cpus', scalar: { value: 2 } }],
      allocated_resources: [{ name: 'cpus', scalar: { value: 0.1 } }],
    },
    { agent_info: { id: { value: 'pi-2' } }, active: false },
  ]);
  const tasks = await read('GET_TASKS');
  t.match(tasks, {
    pending_tasks: [{ framework_id: { value: 'mesolite-jobs' }, state: 'TASK_STAGING' }],
    tasks: [{ task_id: { value: 'a' }, framework_id: { value: framework.id }, agent_id: { value: 'pi-1' } }],
    completed_tasks: [{ task_id: { value: 'b' }, state: 'TASK_FINISHED', statuses: [{ state: 'TASK_FINISHED' }] }],
    unreachable_tasks: [],
    orphan_tasks: [],
  });
  const { frameworks } = await read('GET_FRAMEWORKS');
  t.match(frameworks, [
    { framework_info: { name: 'mesolite', id: { value: 'mesolite-jobs' } }, active: true },
    { framework_info: { name: 'farm', id: { value: framework.id } }, connected: true },
  ]);
  const state = await read('GET_STATE');
  t.same(Object.keys(state), ['get_tasks', 'get_executors', 'get_frameworks', 'get_agents']);
  t.same(state.get_tasks, tasks);
});

t.test('what is no call, no JSON, or not carried out is told apart', async t => {
  const { post, target } = await stage(t);
  t.equal((await post('{', {})).status, 400);
  t.equal((await post('{', { 'content-type': 'application/x-protobuf' })).status, 415);
  t.equal((await post('{')).status, 400);
  t.equal((await post({ type: 'get_state' })).status, 400);
  t.equal((await post({ type: 'GET_STATE' }, { ...json, accept: 'application/x-protobuf' })).status, 406);
  t.match(await post({ type: 'RESERVE_RESOURCES' }), { status: 501, text: /RESERVE_RESOURCES is not carried out/ });
  t.equal((await ask({ ...target, authorization: undefined }, 'GET', '/master/state')).status, 401);
  const ci = { ...target, authorization: basic('ci', 'token-of-ci') };
  t.equal((await ask(ci, 'GET', '/master/state')).status, 403, 'a framework does not see what others have');
});

t.test('an admin tears a framework down, a reader does not', async t => {
  const { post, target, framework, taskOf, eventually } = await stage(t);
  const call = { type: 'TEARDOWN', teardown: { framework_id: { value: framework.id } } };
  const reader = { ...target, authorization: basic('reader', 'token-of-reader') };
  t.equal((await ask(reader, 'POST', '/api/v1', json, JSON.stringify(call))).status, 403);
  t.equal((await post(call)).status, 200);
  await eventually('its tasks end', async () => (await taskOf(framework.id, 'a')).stopping);
  t.equal((await post(call)).status, 400, 'once');
});

t.test('subscribers hear first how all stands, then what happens', async t => {
  const { target, framework, report, subscribe, say } = await stage(t);
  const stream = await openStream(target, '/api/v1', { type: 'SUBSCRIBE' });
  t.notOk('mesos-stream-id' in stream.headers);
  const { subscribed } = await stream.next('SUBSCRIBED');
  t.match(subscribed, { heartbeat_interval_seconds: 5, get_state: { get_agents: { agents: [{}, {}] } } });
  await stream.next('HEARTBEAT');
  await report(framework, 'a', 'TASK_FAILED', { message: 'exit code 1' });
  t.match(await stream.next('TASK_UPDATED'), {
    task_updated: {
      framework_id: { value: framework.id },
      state: 'TASK_FAILED',
      status: { task_id: { value: 'a' }, agent_id: { value: 'pi-1' }, message: 'exit code 1' },
    },
  });
  const other = await subscribe({ name: 'other' });
  t.match(await stream.next('FRAMEWORK_ADDED'), {
    framework_added: { framework: { framework_info: { name: 'other', id: { value: other.id } } } },
  });
  const offer = await other.offer();
  await other.launch(offer, [taskOn(offer, 'c', 'x')]);
  t.match(await stream.next('TASK_ADDED'), { task_added: { task: { task_id: { value: 'c' }, name: 'c' } } });
  await other.call('TEARDOWN');
  t.match(await stream.next('FRAMEWORK_REMOVED'), {
    framework_removed: { framework_info: { id: { value: other.id } } },
  });
  say(nodeOf('pi-2'));
  t.match(await stream.next('AGENT_ADDED'), { agent_added: { agent: { agent_info: { id: { value: 'pi-2' } } } } });
  say(nodeOf('pi-2', {}, { state: 'unreachable' }));
  t.match(await stream.next('AGENT_REMOVED'), { agent_removed: { agent_id: { value: 'pi-2' } } });
  t.equal(stream.odd, 0);
  stream.close();
});

t.test('there is a bound on subscribers', async t => {
  const { target } = await mesosStage(t);
  const streams = [];
  for (let i = 0; i < 32; i++) streams.push(await openStream(target, '/api/v1', { type: 'SUBSCRIBE' }));
  const refused = await ask(target, 'POST', '/api/v1', json, '{"type":"SUBSCRIBE"}');
  t.match(refused, { status: 503, text: /32 subscribers/ });
  for (const stream of streams) stream.close();
});

t.test('the endpoints of before the v1 API have what older programs read', async t => {
  const { get, framework } = await stage(t);
  const state = await get('/master/state');
  t.match(state, {
    id: 'master-1',
    version: /^1\./,
    leader: 'master@master:1',
    activated_slaves: 1,
    unreachable_slaves: 1,
    slaves: [
      {
        id: 'pi-1',
        hostname: 'pi-1',
        resources: { cpus: 2, mem: 1_000, ports: '[20000-20009]' },
        used_resources: { cpus: 0.1 },
        attributes: { arch: 'arm64' },
        active: true,
      },
      { id: 'pi-2', active: false },
    ],
    frameworks: [
      { id: 'mesolite-jobs', name: 'mesolite' },
      {
        id: framework.id,
        name: 'farm',
        active: true,
        tasks: [{ id: 'a', slave_id: 'pi-1', state: 'TASK_RUNNING', resources: { cpus: 0.1, mem: 32 } }],
        completed_tasks: [{ id: 'b', state: 'TASK_FINISHED' }],
      },
    ],
  });
  for (const path of ['/state', '/state.json', '/master/state.json']) t.same(await get(path), state, path);
  t.match(await get('/state-summary'), { slaves: [{ id: 'pi-1', TASK_RUNNING: 1, TASK_FINISHED: 1 }, {}] });
  t.match(await get('/master/slaves'), { slaves: [{ id: 'pi-1' }, { id: 'pi-2' }] });
  t.match(await get('/master/frameworks'), { frameworks: [{}, { id: framework.id }], completed_frameworks: [] });
  const { tasks } = await get('/master/tasks');
  t.equal(tasks.length, 3);
  t.match((await get('/tasks?limit=1&order=asc&task_id=b')).tasks, [{ id: 'b' }]);
  const metrics = await get('/metrics/snapshot');
  t.match(metrics, {
    'master/elected': 1,
    'master/cpus_total': 4,
    'master/cpus_used': 0.1,
    'master/slaves_active': 1,
    'master/tasks_running': 1,
    'master/tasks_staging': 1,
    'master/tasks_finished': 1,
    'master/frameworks_active': 1,
  });
  t.ok(Object.values(metrics).every(value => typeof value === 'number'));
});

t.test('an agent is drained, deactivated and taken back as Mesos calls it', async t => {
  const { post, read, store, target, eventually } = await stage(t);
  const agent_id = { value: 'pi-1' };
  const stopping = async () => (await store.tasks.list({ node: 'pi-1' })).filter(task => task.stopping).length;
  const stateOf = async () => (await read('GET_AGENTS')).agents[0];
  t.equal((await post({ type: 'DEACTIVATE_AGENT', deactivate_agent: { agent_id } })).status, 200);
  t.match(await stateOf(), { active: false, deactivated: true, drain_info: undefined });
  t.equal((await post({ type: 'REACTIVATE_AGENT', reactivate_agent: { agent_id } })).status, 200);
  t.match(await stateOf(), { active: true, deactivated: false });
  t.equal(await stopping(), 0, 'what runs goes on');
  const drain = { agent_id, max_grace_period: { nanoseconds: 5e9 }, mark_gone: null };
  t.equal((await post({ type: 'DRAIN_AGENT', drain_agent: drain })).status, 200);
  t.match(await stateOf(), { active: false, drain_info: { state: 'DRAINING' } });
  await eventually('its task is told to end', async () => (await stopping()) === 1);

  t.match(await post({ type: 'DRAIN_AGENT' }), { status: 400, text: /'drain_agent' to be present/ });
  t.match(await post({ type: 'DRAIN_AGENT', drain_agent: { agent_id: { value: 'no' } } }), { status: 400 });
  const reader = { ...target, authorization: basic('reader', 'token-of-reader') };
  t.equal(
    (await ask(reader, 'POST', '/api/v1', json, JSON.stringify({ type: 'DRAIN_AGENT', drain_agent: drain }))).status,
    403,
  );
});

t.test('an agent that is gone loses its tasks for good, and what it had counts no more', async t => {
  const { post, read, store, framework, eventually, fleet } = await stage(t);
  t.match(await post({ type: 'MARK_AGENT_GONE' }), { status: 400, text: /'mark_agent_gone' to be present/ });
  t.equal((await post({ type: 'MARK_AGENT_GONE', mark_agent_gone: { agent_id: { value: 'pi-1' } } })).status, 200);
  t.match(await store.tasks.ofFramework(framework.id, 'a'), { state: 'TASK_GONE_BY_OPERATOR', node: 'pi-1' });
  await framework.update('a', 'TASK_RUNNING');
  const isTold = ({ update: { status } }: Json) => status.reason === 'REASON_AGENT_REMOVED_BY_OPERATOR';
  t.match((await framework.stream.next('UPDATE', isTold)).update, {
    status: { task_id: { value: 'a' }, state: 'TASK_LOST', source: 'SOURCE_MASTER', message: 'admin marked it gone' },
  });
  t.match((await read('GET_AGENTS')).agents, [{ agent_info: { id: { value: 'pi-2' } } }]);
  // one that has no tasks is drained at once, and gone then
  const drain = { agent_id: { value: 'pi-2' }, mark_gone: true };
  t.equal((await post({ type: 'DRAIN_AGENT', drain_agent: drain })).status, 200);
  await eventually('both are gone', async () => (await read('GET_AGENTS')).agents.length === 0);
  t.match(fleet.get('pi-2'), { state: 'quarantined', drain: null }, 'and one that joins anew stays');
});

t.test('a subscriber that takes nothing is cut off when too much waits for it, one that reads gets all', async t => {
  const closed: boolean[] = [];
  const server = createServer((request, response) => {
    const isSlow = request.url === '/slow';
    const limitBytes = 1024 * 1024;
    const stream = openEventStream(response, { id: '1', limitBytes, onClose: slow => void closed.push(slow) });
    const event = { text: 'x'.repeat(256 * 1024) };
    for (let i = 0; i < (isSlow ? 64 : 4); i++) stream.send(event);
    if (!isSlow) stream.end();
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  const answer = await fetch(`http://127.0.0.1:${port}/`);
  t.equal((await answer.text()).match(/"text"/g)?.length, 4);
  t.same(closed, [false]);
  const socket = connect(port, '127.0.0.1').pause();
  t.teardown(() => socket.destroy());
  socket.on('error', () => {});
  socket.write('GET /slow HTTP/1.1\r\nhost: master\r\n\r\n');
  await new Promise<void>(resolve => server.once('request', () => setImmediate(resolve)));
  t.same(closed, [false, true], 'at its limit and not before');
});

/** What the scheduler API answers, in the order of Mesos' `Master::Http::scheduler`; names in brackets are those of Mesos' own tests. */
import t, { type Test } from 'tap';
import { mesosBounds } from '../../../src/master/mesos/bounds.ts';
import { ask, type Json, MesosFramework, openStream } from '../../fixtures/mesos-client.ts';
import { basic, mesosStage } from '../../fixtures/mesos-stage.ts';

const path = '/api/v1/scheduler';
const json = { 'content-type': 'application/json' };
const subscribeCall = (more: object = {}) =>
  JSON.stringify({ type: 'SUBSCRIBE', subscribe: { framework_info: { user: 'root', name: 'test', ...more } } });

async function stage(t: Test) {
  const all = await mesosStage(t);
  const post = (body: string, headers: Record<string, string> = json) => ask(all.target, 'POST', path, headers, body);
  const call = (framework: MesosFramework, type: string, more: object = {}, streamId?: string) =>
    post(JSON.stringify({ framework_id: { value: framework.id }, type, ...more }), {
      ...json,
      ...(streamId !== undefined && { 'mesos-stream-id': streamId }),
    });
  const open = (headers: Record<string, string>, body: object = JSON.parse(subscribeCall())) =>
    openStream(all.target, path, body, headers);
  return { ...all, post, call, open };
}

t.test('401: without credentials, with wrong ones, and with the name of another', async t => {
  const { target } = await stage(t);
  const wrong = [undefined, 'Bearer no', basic('admin', 'no'), basic('other', 'token-of-admin'), 'Basic !'];
  for (const authorization of wrong) {
    const answer = await ask({ ...target, authorization }, 'POST', path, json, subscribeCall());
    t.equal(answer.status, 401, `${authorization}`);
    t.match(answer.headers['www-authenticate'], /^Basic/);
  }
  const reader = { ...target, authorization: basic('reader', 'token-of-reader') };
  t.equal((await ask(reader, 'POST', path, json, subscribeCall())).status, 403, 'a reader launches nothing');
});

t.test('307: a master that does not lead names the one that does', async t => {
  const { post, standing } = await stage(t);
  standing.now = { is: 'following', leader: 'other.lan:5050' };
  const answer = await post('no call at all', {});
  t.equal(answer.status, 307);
  t.equal(answer.headers.location, `//other.lan:5050${path}`);
});

t.test('503: a master that does not know all yet', async t => {
  const { post, standing } = await stage(t);
  standing.now = { is: 'recovering' };
  t.equal((await post('no call at all', {})).status, 503);
});

t.test('405: anything but POST [GetRequest]', async t => {
  const { target } = await stage(t);
  for (const method of ['GET', 'PUT', 'DELETE', 'PATCH']) {
    const answer = await ask(target, method, path);
    t.equal(answer.status, 405, method);
    t.equal(answer.headers.allow, 'POST');
  }
});

t.test('400: no content type [NoContentType]', async t => {
  const { post } = await stage(t);
  t.match(await post(subscribeCall(), {}), { status: 400, text: /Content-Type/ });
});

t.test('400: what is no JSON [MalformedContent], and what is no call [ValidJsonButInvalidProtobuf]', async t => {
  const { post } = await stage(t);
  const bad = ['', '{', 'null', '[]', '"x"', '{}', '{"type":"NOTHING"}', '{"type":"SUBSCRIBE"}', '{"type":7}'];
  for (const body of [...bad, `{"type":"SUBSCRIBE","subscribe":{"framework_info":{"user":"root"}}}`]) {
    t.match(await post(body), { status: 400, text: /^Failed to parse body into Call: / }, body);
  }
  t.equal((await post('['.repeat(50_000))).status, 400, 'however deep it is');
});

t.test('413: a body that is larger than its bound', async t => {
  const { post } = await stage(t);
  t.equal((await post(`"${'x'.repeat(mesosBounds.callBytes)}"`)).status, 413);
});

t.test('415: protobuf, and anything else that is not JSON [UnsupportedContentMediaType]', async t => {
  const { post } = await stage(t);
  for (const type of ['application/x-protobuf', 'text/plain', 'application/jsonx', 'application/recordio']) {
    t.equal((await post('no JSON', { 'content-type': type })).status, 415, type);
  }
});

t.test('406: a subscriber that does not take JSON [NotAcceptable]', async t => {
  const { post } = await stage(t);
  for (const accept of ['foo', 'application/x-protobuf', 'application/json;q=0', 'text/*']) {
    t.equal((await post(subscribeCall(), { ...json, accept })).status, 406, accept);
  }
});

t.test('200: JSON where nothing is said [NoAcceptHeader] or anything will do [DefaultAccept]', async t => {
  const { open } = await stage(t);
  for (const accept of ['', '*/*', 'application/*', 'application/json;charset=utf-8', 'text/html, */*;q=0.1']) {
    const stream = await open({ accept });
    t.match(stream, { status: 200, headers: { 'content-type': 'application/json' } }, accept);
    stream.close();
  }
  const stream = await open({ accept: 'application/recordio', 'message-accept': 'application/json' });
  t.match(stream.headers, { 'content-type': 'application/recordio', 'message-content-type': 'application/json' });
});

t.test('400: a subscriber that has a stream already [SubscribeWithStreamId]', async t => {
  const { post } = await stage(t);
  t.match(await post(subscribeCall(), { ...json, 'mesos-stream-id': 'x' }), { status: 400, text: /Stream-Id/ });
});

t.test('400: two ids of the framework that differ', async t => {
  const { post } = await stage(t);
  const body = { ...JSON.parse(subscribeCall({ id: { value: 'a' } })), framework_id: { value: 'b' } };
  t.match(await post(JSON.stringify(body)), { status: 400, text: /differs/ });
});

t.test('a subscriber hears who it is, and heartbeats in time for old clients [Subscribe]', async t => {
  const { subscribe, clock } = await stage(t);
  const { stream } = await subscribe();
  t.match(stream.headers['mesos-stream-id'], /./);
  await stream.next('HEARTBEAT');
  for (let i = 0; i < 3; i++) {
    await clock.advance(6_000);
    await stream.next('HEARTBEAT');
  }
});

t.test('who subscribes again is the same framework, and the stream of before ends [SubscribedOnRetry]', async t => {
  const { subscribe } = await stage(t);
  const first = await subscribe();
  const second = await subscribe({ id: first.id });
  t.equal(second.id, first.id);
  t.match(await first.stream.next('ERROR'), { error: { message: 'Framework failed over' } });
  t.not(second.stream.headers['mesos-stream-id'], first.stream.headers['mesos-stream-id']);
  await first.call('REVIVE', {}, 400);
  await second.call('REVIVE');
});

t.test('an id that the master does not know is taken: it may be of a master of before', async t => {
  const { subscribe } = await stage(t);
  t.equal((await subscribe({ id: 'a1b2-0007' })).id, 'a1b2-0007');
});

t.test('what a framework may not be it hears in an ERROR [RejectFrameworkWithInvalidRole]', async t => {
  const { open, target, subscribe } = await stage(t);
  const refusals: [object, RegExp][] = [
    [{ role: '/x/' }, /Role '\/x\/' is invalid/],
    [{ roles: ['a'] }, /not MULTI_ROLE capable/],
    [{ role: 'a', capabilities: [{ type: 'MULTI_ROLE' }] }, /is MULTI_ROLE capable/],
    [{ principal: 'somebody' }, /does not match authenticated principal 'admin'/],
    [{ id: { value: 'no spaces' } }, /has a character/],
  ];
  for (const [info, message] of refusals) {
    const stream = await open({}, JSON.parse(subscribeCall(info)));
    t.equal(stream.status, 200);
    t.match(await stream.next('ERROR'), { error: { message } });
  }
  const { id } = await subscribe();
  const ci = { ...target, authorization: basic('ci', 'token-of-ci') };
  const asCi = (info: object) => openStream(ci, path, JSON.parse(subscribeCall(info)));
  const other = await asCi({ id: { value: id }, role: 'ci' });
  t.match(await other.next('ERROR'), { error: { message: /belongs to another principal/ } });
  const role = await asCi({ role: 'other' });
  t.match(await role.next('ERROR'), { error: { message: "Not authorized to use role 'other'" } });
  t.equal((await asCi({ role: 'ci' })).status, 200);
});

t.test('400: a framework that is not there, and one of another principal', async t => {
  const { post, target, subscribe } = await stage(t);
  t.match(await post('{"type":"REVIVE"}'), { status: 400, text: /framework_id/ });
  const unknown = '{"type":"REVIVE","framework_id":{"value":"x"}}';
  t.match(await post(unknown), { status: 400, text: /Framework cannot be found/ });
  const { id, stream } = await subscribe();
  const ci = { ...target, authorization: basic('ci', 'token-of-ci') };
  const headers = { ...json, 'mesos-stream-id': String(stream.headers['mesos-stream-id']) };
  const answer = await ask(ci, 'POST', path, headers, unknown.replace('"x"', JSON.stringify(id)));
  t.match(answer, { status: 400, text: /Framework cannot be found/ });
});

t.test('403: a framework that is away', async t => {
  const { subscribe, eventually, mesos, call } = await stage(t);
  const framework = await subscribe();
  framework.stream.close();
  await eventually('it is known to be away', () => mesos.get(framework.id)?.stream === undefined);
  t.match(await call(framework, 'REVIVE', {}, 'x'), { status: 403, text: /not subscribed/ });
});

t.test('400: no stream id [TeardownWithoutStreamId], and a wrong one [TeardownWrongStreamId]', async t => {
  const { subscribe, call } = await stage(t);
  const framework = await subscribe();
  t.match(await call(framework, 'TEARDOWN'), { status: 400, text: /should include/ });
  t.match(await call(framework, 'TEARDOWN', {}, 'x'), { status: 400, text: /did not match/ });
  await framework.call('TEARDOWN');
});

t.test('400: a uuid that is none [MalformedUUID]', async t => {
  const { subscribe } = await stage(t);
  const framework = await subscribe();
  const of = (uuid: string) => ({ acknowledge: { agent_id: { value: 'pi-1' }, task_id: { value: 'x' }, uuid } });
  for (const uuid of ['bad uuid', '', 'AAAA']) {
    t.match(await framework.call('ACKNOWLEDGE', of(uuid), 400), { text: /uuid/ });
  }
  await framework.call('ACKNOWLEDGE', of(Buffer.alloc(16).toString('base64')));
});

t.test('202: every other call, without a body', async t => {
  const { subscribe } = await stage(t);
  const framework = await subscribe();
  const ids = { executor_id: { value: 'e' }, agent_id: { value: 'pi-1' } };
  const calls: [string, object][] = [
    ['ACCEPT', { accept: { offer_ids: [{ value: 'x' }], operations: null, filters: null } }],
    ['DECLINE', { decline: { offer_ids: [{ value: 'x' }], filters: { refuse_seconds: 5 } } }],
    ['REVIVE', { revive: null }],
    ['SUPPRESS', {}],
    ['KILL', { kill: { task_id: { value: 'x' }, agent_id: null } }],
    ['SHUTDOWN', { shutdown: ids }],
    ['RECONCILE', { reconcile: { tasks: [] } }],
    ['MESSAGE', { message: { ...ids, data: 'aGVsbG8=' } }],
    ['REQUEST', { request: { requests: [] } }],
    ['ACCEPT_INVERSE_OFFERS', {}],
    ['DECLINE_INVERSE_OFFERS', {}],
    ['ACKNOWLEDGE_OPERATION_STATUS', {}],
  ];
  for (const [type, more] of calls) t.equal((await framework.call(type, more)).text, '', type);
});

t.test('200: the calls that have an answer, and 501: the one that means nothing', async t => {
  const { subscribe, mesos } = await stage(t);
  const framework = await subscribe();
  const operations: Json = JSON.parse((await framework.call('RECONCILE_OPERATIONS', {}, 200)).text);
  t.same(operations.reconcile_operations, { operation_statuses: [] });
  const framework_info = { user: 'root', name: 'renamed', failover_timeout: 60 };
  await framework.call('UPDATE_FRAMEWORK', { update_framework: { framework_info } }, 200);
  t.match(mesos.get(framework.id)?.info, { name: 'renamed', id: { value: framework.id } });
  const invalid = { ...framework_info, role: '..' };
  await framework.call('UPDATE_FRAMEWORK', { update_framework: { framework_info: invalid } }, 400);
  await framework.call('UNKNOWN', {}, 501);
});

t.test('of two faults the one that Mesos looks for first is told', async t => {
  const { post, standing, target } = await stage(t);
  const streamId = { 'mesos-stream-id': 'x' };
  t.equal((await post('{', {})).status, 400, 'no content type before a bad body');
  t.match(await post('{', { 'content-type': 'text/plain' }), { status: 415 }, 'the type before the body');
  t.match(await post('{', { ...json, accept: 'foo' }), { status: 400 }, 'the body before Accept');
  t.match(
    await post(subscribeCall(), { ...json, ...streamId, accept: 'foo' }),
    { status: 406 },
    'Accept before the stream',
  );
  t.match(await post('{"type":"REVIVE","framework_id":{"value":"x"}}', { ...json, accept: 'foo' }), {
    text: /cannot be found/,
  });
  standing.now = { is: 'recovering' };
  t.equal((await ask(target, 'GET', path)).status, 503, 'the standing before the method');
});

t.test('without credentials on loopback, where that was allowed: as a principal of its own', async t => {
  const { target } = await mesosStage(t, { isOpen: true });
  const open = { ...target, authorization: undefined };
  const framework = await MesosFramework.subscribe(open);
  await framework.call('REVIVE');
  t.equal((await ask(open, 'GET', '/master/state')).status, 200);
  const named = await ask({ ...open, authorization: basic('admin', 'no') }, 'POST', path, json, subscribeCall());
  t.equal(named.status, 401, 'who shows some has to have the right ones');
  const teardown = JSON.stringify({ type: 'TEARDOWN', teardown: { framework_id: { value: framework.id } } });
  t.equal((await ask(open, 'POST', '/api/v1', json, teardown)).status, 403);
  const rebound = await ask(open, 'GET', '/master/state', { host: 'evil.example' });
  t.equal(rebound.status, 403, 'a page in a browser is kept out');
});

import t, { type Test } from 'tap';
import type { FleetNode } from '../../src/master/fleet.ts';
import { makeServices } from '../../src/master/services.ts';
import type { TaskSpec } from '../../src/model/task.ts';
import { birthOf, enterNode, openTestStore, placeTask, statusOf } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const node = (id: string, more: Partial<FleetNode> = {}): FleetNode => ({
  id,
  labels: {},
  joinedAt: 1,
  state: 'ready',
  lastSeen: 1,
  birth: birthOf({ address: `${id}.lan` }),
  usage: null,
  boot: 1,
  quarantine: null,
  ...more,
});

async function stage(t: Test) {
  const store = await openTestStore(t);
  const nodes = new Map([
    ['pi-1', node('pi-1')],
    ['pi-2', node('pi-2')],
  ]);
  for (const id of nodes.keys()) await enterNode(store, id);
  const words = new MasterWords();
  const weights = new Map<string, number>();
  const parts = {
    store,
    outgoing: words.outgoing,
    nodeOf: (id: string) => nodes.get(id),
    weightOf: (id: string) => weights.get(id) ?? 100,
    clock: words.clock,
  };
  const services = makeServices(parts, { trustDomain: 'edge.local' });
  const place = (on: string, id: string, spec: Partial<TaskSpec> = {}) =>
    placeTask(store, on, {
      id,
      ports: [{ name: 'http', protocol: 'http', number: 20_001 }],
      service: { name: 'web', port: 'http' },
      serviceAccount: 'web',
      ...spec,
    });
  const say = (on: string, id: string, state: Parameters<typeof statusOf>[1], ready = false) =>
    store.tasks.recordStatuses([statusOf(id, state, { ready })], { node: on, receivedAt: 1 });
  const published = () =>
    words
      .take('service')
      .map(({ subject, revision, body }): Record<string, unknown> => ({ subject, revision, ...body }));
  return { store, nodes, weights, words, services, place, say, published };
}

t.test('a service’s endpoints are its tasks that run and are ready, by their nodes’ addresses', async t => {
  const { services, place, say, published } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  await place('pi-2', 'web.default.1-b');
  await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', true);
  await say('pi-2', 'web.default.1-b', 'TASK_RUNNING', false);
  t.ok(await services.publish());
  const endpoint = {
    task: 'web.default.0-a',
    node: 'pi-1',
    address: 'pi-1.lan',
    port: 15_008,
    serverName: '0-a.web.default.mesh',
    weight: 100,
  };
  t.match(published(), [
    {
      subject: 'web.default',
      name: 'web',
      namespace: 'default',
      protocol: 'http',
      spiffeId: 'spiffe://edge.local/ns/default/sa/web',
      endpoints: [endpoint],
    },
  ]);
  await say('pi-2', 'web.default.1-b', 'TASK_RUNNING', true);
  await services.publish();
  t.match(published(), [{ endpoints: [endpoint, { node: 'pi-2' }] }]);
  t.match(await services.list(), [{ name: 'web', endpoints: [endpoint, { node: 'pi-2' }] }]);
});

t.test('it is published when it changed, under a new revision, and not otherwise', async t => {
  const { services, place, say, published, store } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  t.ok(await services.publish(), 'a service without endpoints is known, too');
  const [first] = published();
  t.notOk(await services.publish());
  await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', false);
  t.notOk(await services.publish(), 'nothing that its callers would see');
  await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', true);
  t.ok(await services.publish());
  const [second] = published();
  t.ok(Number(second?.revision) > Number(first?.revision));
  t.same(services.revisions(), { 'web.default': second?.revision });
  await store.assignments.stop(['web.default.0-a']);
  t.ok(await services.publish());
  t.match(published(), [{ endpoints: [] }], 'one that is to end takes no calls');
});

t.test('all of it is said again under the revisions that it has', async t => {
  const { services, place, published } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  await services.publish();
  const [first] = published();
  t.ok(await services.publish({ all: true }));
  t.same(published(), [first]);
});

t.test('a service that has no tasks any more is published once more, empty, and then forgotten', async t => {
  const { services, place, say, published } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', true);
  await services.publish();
  published();
  await say('pi-1', 'web.default.0-a', 'TASK_FINISHED');
  t.ok(await services.publish());
  t.match(published(), [{ subject: 'web.default', endpoints: [] }]);
  t.same(await services.list(), []);
  t.notOk(await services.publish());
  t.notOk(await services.publish({ all: true }));
  t.same(services.revisions(), {});
  t.same(published(), []);
});

t.test(
  'a task on a node that cannot be believed is no endpoint, and one that serves no port is no service',
  async t => {
    const { nodes, services, place, say, published, store } = await stage(t);
    await place('pi-1', 'web.default.0-a');
    await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', true);
    nodes.set('pi-1', node('pi-1', { state: 'quarantined' }));
    await services.publish();
    t.match(published(), [{ endpoints: [] }]);
    nodes.set('pi-1', node('pi-1', { state: 'unreachable' }));
    await services.publish();
    t.match(published(), [{ endpoints: [{ node: 'pi-1' }] }], 'one that is silent may well serve its peers');
    await placeTask(store, 'pi-2', { id: 'client.default.0-b' });
    t.notOk(await services.publish());
  },
);

t.test('a service is tcp where its port is', async t => {
  const { services, place, published } = await stage(t);
  await place('pi-1', 'db.data.0-a', {
    ports: [
      { name: 'http', protocol: 'http', number: 20_001 },
      { name: 'sql', protocol: 'tcp', number: 20_002 },
    ],
    service: { name: 'db', port: 'sql' },
  });
  await services.publish();
  t.match(published(), [{ subject: 'db.data', protocol: 'tcp', spiffeId: /\/ns\/data\/sa\/web$/ }]);
});

t.test('what could not be sent is sent with the next publication', async t => {
  const { services, place, published, words } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  words.isUp = false;
  await t.rejects(services.publish(), { code: 'UNAVAILABLE' });
  words.isUp = true;
  t.ok(await services.publish());
  t.equal(published().length, 1);
});

t.test('an endpoint has the labels of its task and the weight of its node; another weight is published', async t => {
  const { services, weights, place, say, published } = await stage(t);
  await place('pi-1', 'web.default.0-a', { labels: { app: 'web', version: 'v2' } });
  await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', true);
  await services.publish();
  await place('pi-1', 'web.default.1-b', { labels: { app: 'web', version: 'v3' } });
  await say('pi-1', 'web.default.1-b', 'TASK_RUNNING', true);
  await place('pi-2', 'web.default.2-c', { labels: { app: 'web', version: 'v2' } });
  await say('pi-2', 'web.default.2-c', 'TASK_RUNNING', true);
  await services.publish();
  t.match(published(), [
    { endpoints: [{ weight: 100, labelSet: 0 }] },
    {
      endpoints: [{ labelSet: 0 }, { labelSet: 1 }, { labelSet: 0 }],
      labelSets: [
        { app: 'web', version: 'v2' },
        { app: 'web', version: 'v3' },
      ],
    },
  ]);
  weights.set('pi-1', 25);
  t.ok(await services.publish());
  t.match(published(), [{ endpoints: [{ weight: 25 }] }]);
  t.notOk(await services.publish());
});

t.test('a task that is not ready any more leaves the endpoints, and comes back with its health', async t => {
  const { services, place, say, published } = await stage(t);
  await place('pi-1', 'web.default.0-a');
  for (const ready of [true, false, true]) {
    await say('pi-1', 'web.default.0-a', 'TASK_RUNNING', ready);
    await services.publish();
    t.match(published(), [{ endpoints: { length: ready ? 1 : 0 } }]);
  }
});

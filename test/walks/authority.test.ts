/** A root follows another, and a node is revoked, in a fleet that works all the while. */
import { join } from 'node:path';
import t from 'tap';
import { eventListSchema } from '../../src/model/api.ts';
import { authorityViewSchema, certificateListSchema } from '../../src/model/certificate.ts';
import {
  agentConfig,
  joinAgent,
  makeHome,
  masterConfig,
  proxyOf,
  runAgent,
  runMaster,
  trustDomain,
  untilReady,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const { api } = master;
const { client } = api;
const joinAs = (node: string) => joinAgent(t, master, { dataDir: join(home, node), node, heartbeatMs: 1_000 }, ports);
const [near, far] = await Promise.all(['near', 'far'].map(joinAs));

const on = (node: string) => ({ constraints: [{ attribute: 'node', operator: 'in', values: [node] }] });
await api.apply(
  job('echo', {
    ...on('far'),
    serviceAccount: 'echo',
    command: echoProgram,
    ports: [{ name: 'http' }],
    service: { port: 'http' },
    health: { type: 'http', port: 'http', interval: '1s' },
  }),
  job('caller', { ...on('near'), serviceAccount: 'caller', upstreams: ['echo'], command: callerProgram }),
);
await untilTasks(api, 'echo', 'TASK_RUNNING');
const url = 'http://echo.default.mesh/';
const proxy = await proxyOf(api, 'caller');
const call = async () => (await callThrough(proxy, url)).status;
await until('the call arrives', async () => (await call()) === 200);

const authority = () => client.get('/v1/authority', authorityViewSchema);
const certificates = async (query = '') =>
  (await client.get(`/v1/certificates${query}`, certificateListSchema)).certificates;
const eventsOf = async (kind: string) =>
  (await client.get(`/v1/events?limit=100&kind=${kind}`, eventListSchema)).events.map(each => each.message);

t.test('every certificate is in the book', async t => {
  const all = await certificates();
  for (const kind of ['root', 'issuing', 'config', 'master']) {
    t.ok(
      all.some(each => each.kind === kind && each.state === 'valid' && each.node === null),
      kind,
    );
  }
  for (const node of ['near', 'far']) {
    const [own] = await certificates(`?node=${node}`).then(list => list.filter(each => each.kind === 'node'));
    t.match(own, { state: 'valid', spiffeId: `spiffe://${trustDomain}/node/${node}` });
  }
  t.ok(all.some(each => each.spiffeId === `spiffe://${trustDomain}/ns/default/sa/echo` && each.node === 'far'));
});

t.test('a root follows another with no restart and no dropped connection', async t => {
  const joinString = await api.joinString();
  const before = await authority();
  await client.post('/v1/authority/rotate', { what: 'root' }, authorityViewSchema);
  const after = await until('all nodes have the new root', async () => {
    t.equal(await call(), 200, 'calls go on');
    const view = await authority();
    return view.generations.length === 2 && view.generations[1]?.state === 'issuing' && view;
  });
  t.not(after.generations[1]?.root.sha256, before.generations[0]?.root.sha256);
  t.same(after.waitingFor, []);
  t.equal(await call(), 200);
  const told = await until('both steps are told', async () => {
    const messages = await eventsOf('authority-rotated');
    return messages.length >= 2 && messages;
  });
  t.match(told, [/a new root is announced/, /the new root issues now/]);
  for (const agent of [near, far]) t.same(agent?.log.all('the link is down'), []);

  const config = await agentConfig(
    t,
    { dataDir: join(home, 'late'), node: 'late', join: joinString, heartbeatMs: 1_000 },
    ports,
  );
  await runAgent(t, config);
  await untilReady(api, 'late');
  const [own] = (await certificates('?node=late')).filter(each => each.kind === 'node');
  t.equal(
    own?.issuer,
    after.generations[1]?.issuing.serial,
    'with a join string of before it has a certificate by the new',
  );
  await api.apply(job('newcomer', { ...on('late'), upstreams: ['echo'], command: callerProgram }));
  const lateProxy = await proxyOf(api, 'newcomer');
  const callLate = () => callThrough(lateProxy, url).then(answer => answer.status);
  await until('a workload by the new root calls one by the old', async () => (await callLate()) === 200);
  await until('every node has renewed, because it was asked to', async () => (await authority()).renewing.length === 0);
  for (const node of ['near', 'far']) {
    const held = (await certificates(`?node=${node}`)).filter(each => each.state === 'valid');
    t.ok(held.length >= 2 && held.every(each => each.issuer === after.generations[1]?.issuing.serial), node);
  }
  t.same([await call(), await callLate()], [200, 200]);
  for (const agent of [near, far]) t.same(agent?.log.all('the link is down'), [], 'its link has moved and was not cut');

  t.test('and a node that is revoked is out within seconds, though it knows where its peers are', async t => {
    const { certificates: revoked } = await client.post('/v1/nodes/near/revoke', {}, certificateListSchema);
    t.ok(revoked.length >= 2, 'its own, and that of its workload');
    await until('its peers refuse it', async () => (await call()) !== 200);
    t.equal(await callLate(), 200, 'others go on');
    await until('the broker has cut it off', () => (near?.log.all('the link is down').length ?? 0) > 0);
    const told = await eventsOf('certificate-revoked');
    for (const { serial } of revoked) t.ok(told.some(message => message.includes(serial)));
    t.same(await certificates('?node=near'), []);
    t.ok((await certificates('?node=near&all=true')).every(each => each.state === 'revoked'));
    const again = await client.post('/v1/nodes/near/revoke', {}, certificateListSchema);
    t.same(again.certificates, [], 'once is enough');
  });

  t.test('what is needed or not known is not revoked', async t => {
    const revoke = (serial: string | undefined) =>
      client.post(`/v1/certificates/${serial}/revoke`, {}, certificateListSchema);
    await t.rejects(revoke('AA'), { code: 'NOT_FOUND' });
    await t.rejects(revoke('no-serial'), { code: 'INVALID_INPUT' });
    const [root] = (await certificates()).filter(each => each.kind === 'root');
    await t.rejects(revoke(root?.serial), { code: 'CONFLICT', message: /not revoked but retired/ });
    const [old, issuing] = (await authority()).generations;
    await t.rejects(revoke(issuing?.issuing.serial), { code: 'CONFLICT', message: /it is in use/ });
    await t.rejects(revoke(old?.config.serial), { code: 'CONFLICT' }, 'the old signer signs');
  });

  t.test('and the old root goes at once, since nobody needs it any more', async t => {
    const { generations } = await client.post('/v1/authority/retire', {}, authorityViewSchema);
    t.same(
      generations.map(({ root }) => root.sha256),
      [after.generations[1]?.root.sha256],
    );
    await until(
      'the nodes have heard',
      () => far?.log.all('roots, signers or revocations have changed', { roots: 1 }).length,
    );
    t.equal(await callLate(), 200);
  });
});

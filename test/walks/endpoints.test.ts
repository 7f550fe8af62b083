/** A DestinationRule from the operator to the next call, with a real task that falls ill and comes back, and a node that is drained. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { drainAnswerSchema, nodeListSchema } from '../../src/model/api.ts';
import { joinAgent, makeHome, masterConfig, proxyOf, runMaster, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;

/** Says its version; asked for /sicken it is ill until it is started anew. */
const reviewsProgram = [
  process.execPath,
  '-e',
  `let ill = false;
   require('node:http').createServer(({ url }, response) => {
     ill ||= url === '/sicken';
     response.writeHead(ill && url === '/health' ? 500 : 200).end(process.env.VERSION);
   }).listen(process.env.PORT, '127.0.0.1')`,
];

const reviews = (version: string) => ({
  apiVersion: 'mesolite/v1',
  kind: 'Job',
  metadata: { name: `reviews-${version}`, labels: { version } },
  spec: {
    serviceAccount: 'reviews',
    command: reviewsProgram,
    env: { VERSION: version },
    ports: [{ name: 'http' }],
    service: { name: 'reviews', port: 'http' },
    // on a machine with much else to do it takes its time to begin
    health: { type: 'http', port: 'http', path: '/health', interval: '200ms', threshold: 2, gracePeriod: '3m' },
  },
});

const istio = (kind: string, name: string, spec: object) => ({
  apiVersion: 'networking.istio.io/v1',
  kind,
  metadata: { name },
  spec,
});
const subset = (version: string) => ({ name: version, labels: { version } });
const toSubset = (version: string) =>
  istio('VirtualService', 'reviews', {
    hosts: ['reviews'],
    http: [{ route: [{ destination: { host: 'reviews', subset: version } }] }],
  });

const onNode = { constraints: [{ attribute: 'node', operator: 'in', values: ['node'] }] };

await api.apply(
  reviews('v1'),
  reviews('v2'),
  job('caller', { serviceAccount: 'caller', upstreams: ['reviews'], command: callerProgram, ...onNode }),
);
for (const version of ['v1', 'v2']) await untilTasks(api, `reviews-${version}`, 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');

async function answers(path = '/'): Promise<string> {
  const seen = new Set<string>();
  for (let i = 0; i < 20; i++) {
    const { status, text } = await callThrough(proxy, `http://reviews.default.mesh${path}`);
    seen.add(status === 200 ? text : String(status));
  }
  return [...seen].sort().join(' ');
}

const untilAnswers = (wanted: string) => until(`${wanted} answers`, async () => (await answers()) === wanted);

t.test('without a rule both answer, and a subset is the tasks with its labels', async t => {
  await untilAnswers('v1 v2');
  await api.apply(istio('DestinationRule', 'reviews', { host: 'reviews', subsets: [subset('v1'), subset('v2')] }));
  await api.apply(toSubset('v2'));
  await untilAnswers('v2');
  await api.apply(toSubset('v1'));
  await untilAnswers('v1');
  t.match(await api.policies(), [{ kind: 'DestinationRule', action: 'reviews', nodes: 1 }, { kind: 'VirtualService' }]);
  await api.client.remove('/v1/documents/VirtualService/default/reviews');
  await untilAnswers('v1 v2');
});

t.test('what the mesh cannot do is refused with its place, and nothing of it is stored', async t => {
  const wrong = istio('DestinationRule', 'wrong', { host: 'reviews', trafficPolicy: { tls: { mode: 'SIMPLE' } } });
  await t.rejects(api.apply(wrong), { code: 'INVALID_INPUT', message: /document 1: spec\.trafficPolicy\.tls\.mode: / });
  await t.rejects(api.apply(istio('DestinationRule', 'wrong', { host: 'example.com' })), {
    code: 'INVALID_INPUT',
    message: /document 1: spec\.host: expected a service as reviews, /,
  });
  t.equal((await api.policies()).length, 1);
});

t.test('a task that is ill leaves the endpoints before it is restarted, and comes back when it is well', async t => {
  t.equal((await api.endpoints()).length, 2);
  await api.apply(toSubset('v2'));
  await untilAnswers('v2');
  await callThrough(proxy, 'http://reviews.default.mesh/sicken');
  await until('it has left', async () => (await api.endpoints()).length === 1);
  await until('it is back', async () => (await api.endpoints()).length === 2);
  await untilAnswers('v2');
});

t.test(
  'a drained node hands its services over without the loss of a call, says what stays, and is empty in the end',
  async t => {
    await api.client.remove('/v1/documents/VirtualService/default/reviews');
    await untilAnswers('v1 v2');
    const gate = join(home, 'gate');
    const work = ['/bin/sh', '-c', `until [ -e ${gate} ]; do sleep 0.05; done`];
    await api.apply(job('work', { type: 'batch', command: work, ...onNode }));
    await untilTasks(api, 'work', 'TASK_RUNNING');
    await api.apply(job('probe', { type: 'system', command: ['sleep', '1000'], ...onNode }));
    await untilTasks(api, 'probe', 'TASK_RUNNING');
    await joinAgent(t, master, { dataDir: join(home, 'spare'), node: 'spare' }, ports);
    const path = '/v1/nodes/node/drain';
    t.match(await api.client.post(path, {}, drainAnswerSchema), { node: 'node', tasks: 4 });
    const lost: number[] = [];
    await until('the services are on the other node', async () => {
      const { status } = await callThrough(proxy, 'http://reviews.default.mesh/');
      if (status !== 200) lost.push(status);
      const live = (await api.tasks()).filter(({ job, state }) => /^reviews/.test(job) && state === 'TASK_RUNNING');
      return live.length === 2 && live.every(({ node }) => node === 'spare');
    });
    await untilAnswers('v1 v2');
    t.same(lost, []);
    const stays = async () =>
      (await api.events('drain-waits')).some(({ node, message }) => node === 'node' && /^caller/.test(message));
    await until('it is said that the caller has no other place', stays);
    t.match(await api.tasks('work'), [{ state: 'TASK_RUNNING', node: 'node' }], 'a batch task comes to its end');
    writeFileSync(gate, '');
    await untilTasks(api, 'work', 'TASK_FINISHED');
    t.same(await api.events('node-drained'), []);
    await api.remove('Job', 'caller');
    await until('it is empty', async () => (await api.events('node-drained')).length === 1);
    t.match(
      await api.tasks('probe'),
      [{ state: 'TASK_RUNNING' }],
      'but for the task of a system job, which has no other',
    );
    const { nodes } = await api.client.get('/v1/nodes', nodeListSchema);
    t.match(
      nodes.find(({ node }) => node === 'node'),
      { tasks: 1, systemTasks: 1 },
    );
    await api.apply(job('next', { command: ['sleep', '1000'], ...onNode }));
    await until('nothing comes there', async () =>
      /is drained/.test((await api.tasks('next'))[0]?.waiting[0]?.why ?? ''),
    );
    await api.client.delete(path, drainAnswerSchema);
    t.match(await untilTasks(api, 'next', 'TASK_RUNNING'), [{ node: 'node' }]);
  },
);

/** A VirtualService and a RateLimit from the operator to the next call. */
import { join } from 'node:path';
import t from 'tap';
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

const namedProgram = [
  process.execPath,
  '-e',
  `require('node:http').createServer((_, response) => response.end(process.env.MESOLITE_JOB))
     .listen(process.env.PORT, '127.0.0.1')`,
];
const service = (name: string) =>
  job(name, {
    serviceAccount: name,
    command: namedProgram,
    ports: [{ name: 'http' }],
    service: { port: 'http' },
    health: { type: 'http', port: 'http', path: '/' },
  });
const virtualService = (name: string, http: readonly object[]) => ({
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name },
  spec: { hosts: ['web'], http },
});
const to = (host: string) => [{ destination: { host } }];

await api.apply(
  service('web'),
  service('other'),
  job('caller', { serviceAccount: 'caller', upstreams: ['web'], command: callerProgram }),
);
for (const name of ['web', 'other']) await untilTasks(api, name, 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');

async function answer(path: string): Promise<string> {
  const { status, text } = await callThrough(proxy, `http://web.default.mesh${path}`);
  return status === 200 ? text : String(status);
}
const untilAnswer = (path: string, wanted: string) =>
  until(`${path} answers ${wanted}`, async () => (await answer(path)) === wanted);

t.test('a call goes where its route says, also to a service that the caller does not name', async t => {
  await untilAnswer('/', 'web');
  const routed = [{ match: [{ uri: { regex: '/v[0-9]+/.*' } }], route: to('other') }, { route: to('web') }];
  await api.apply(virtualService('web', routed));
  await untilAnswer('/v12/x', 'other');
  t.equal(await answer('/vx/x'), 'web');
  t.match(await api.policies(), [{ kind: 'VirtualService', action: 'routes web', nodes: 1 }]);
});

t.test('a second VirtualService for the same service is taken with a warning', async t => {
  const { results } = await api.apply(virtualService('again', [{ route: to('web') }]));
  t.match(results, [{ warnings: [/default\/web speaks of web\.default too/] }]);
  await api.client.remove('/v1/documents/VirtualService/default/again');
});

t.test('a task that is called too often says so', async t => {
  await api.apply({
    apiVersion: 'mesolite/v1',
    kind: 'RateLimit',
    metadata: { name: 'web' },
    spec: { selector: { matchLabels: { app: 'web' } }, tokenBucket: { maxTokens: 1, fillInterval: '1h' } },
  });
  await untilAnswer('/', '429');
  t.equal(await answer('/v1/x'), 'other', 'nobody else is limited');
  await api.client.remove('/v1/documents/RateLimit/default/web');
  await untilAnswer('/', 'web');
});

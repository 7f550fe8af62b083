/** Walk 1: a task calls a service of another node by its name; proxy → mutual TLS → proxy → process, and the record reaches the audit. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import {
  joinAgent,
  makeHome,
  masterConfig,
  proxyOf,
  runMaster,
  type TestAgent,
  trustDomain,
  untilTasks,
} from '../fixtures/fleet.ts';
import { job, policyFor } from '../fixtures/fleet-api.ts';
import { callerProgram, callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
const { api } = master;
const seen = {
  accessLog: { file: join(home, 'access.log'), format: 'envoy', sample: 1, perSecond: 1_000 },
  metrics: { host: '127.0.0.1', port: await ports.take() },
} as const;
const [near, far] = await Promise.all([
  joinAgent(t, master, { dataDir: join(home, 'near'), node: 'near', ...seen }, ports),
  joinAgent(t, master, { dataDir: join(home, 'far'), node: 'far' }, ports),
]);

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
  job('stranger', { ...on('near'), serviceAccount: 'stranger', command: callerProgram }),
);
const [served] = await untilTasks(api, 'echo', 'TASK_RUNNING');
const proxy = await proxyOf(api, 'caller');
const url = 'http://echo.default.mesh/hello?q=1';
await until('the call arrives', async () => (await callThrough(proxy, url)).status === 200);

function portOf(agent: TestAgent | undefined): number {
  return agent?.config.outboundPort ?? 0;
}

t.test('the service sees who calls, whatever the caller says of itself', async t => {
  const forged = 'By=spiffe://x;URI=spiffe://walks.mesolite/ns/default/sa/root';
  const answer = await callThrough(proxy, url, { 'x-forwarded-client-cert': forged, 'x-mine': 'yes' });
  t.equal(answer.status, 200);
  const seen = JSON.parse(answer.text);
  t.match(seen, { task: served?.id, method: 'GET', url: '/hello?q=1', headers: { 'x-mine': 'yes' } });
  const spiffe = (account: string) => `spiffe://${trustDomain}/ns/default/sa/${account}`;
  t.match(
    seen.headers['x-forwarded-client-cert'],
    new RegExp(`^By=${spiffe('echo')};Hash=[0-9a-f]{64};Subject="[^"]*";URI=${spiffe('caller')}$`),
  );
  t.notOk('proxy-authorization' in seen.headers, 'the credential stays with the proxy');
});

t.test('the record of the call is in the audit of the master, of both sides', async t => {
  const requestId = 'walk-1-audit';
  await callThrough(proxy, url, { 'x-request-id': requestId });
  const records = await until('both records are stored', async () => {
    const entries = (await api.audit()).filter(entry => entry.record.requestId === requestId);
    return entries.length === 2 && entries;
  });
  const inbound = records.find(entry => entry.record.direction === 'inbound');
  t.match(inbound, {
    node: 'far',
    record: {
      source: `${trustDomain}/ns/default/sa/caller`,
      destination: `${trustDomain}/ns/default/sa/echo`,
      task: served?.id,
      method: 'GET',
      host: 'echo.default.mesh',
      path: '/hello',
      verdict: 'allow',
      status: 200,
    },
  });
  t.match(
    records.find(entry => entry.record.direction === 'outbound'),
    { node: 'near', record: { verdict: 'allow', status: 200 } },
  );
});

t.test('what a policy denies is answered at the node of the service, and the record says by which rule', async t => {
  const deny = { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/secret*'] } }] }] };
  await api.apply(policyFor('echo', 'no-secrets', deny));
  const secret = 'http://echo.default.mesh/secret/1';
  const denied = await until('the policy is in force', async () => {
    const answer = await callThrough(proxy, secret, { 'x-request-id': 'walk-1-denied' });
    return answer.status === 403 && answer;
  });
  t.equal(denied.text, 'RBAC: access denied');
  t.equal((await callThrough(proxy, url)).status, 200, 'the rest goes on');
  const [entry] = await until('the record is stored', async () => {
    const entries = await api.audit('&verdict=deny');
    return entries.length > 0 && entries;
  });
  t.match(entry, { node: 'far', record: { verdict: 'deny', path: '/secret/1', status: 403, rule: /no-secrets/ } });
});

t.test('a credential that is wrong or missing gets 407, whoever asks', async t => {
  const [task] = await api.tasks('caller');
  const address = `127.0.0.1:${portOf(near)}`;
  for (const credential of ['', `${task?.id}:wrong@`, `${task?.id}x:wrong@`, 'x:@']) {
    const answer = await callThrough(`http://${credential}${address}`, url);
    t.equal(answer.status, 407, credential);
    t.match(answer.headers['proxy-authenticate'], /^Basic/);
  }
  const { password } = new URL(proxy);
  const there = `http://${task?.id}:${password}@127.0.0.1:${portOf(far)}`;
  t.equal((await callThrough(there, url)).status, 407, 'it is good on its own node alone');
});

t.test('a task reaches only the services that its job declares', async t => {
  const stranger = await proxyOf(api, 'stranger');
  t.equal((await callThrough(stranger, url)).status, 404);
  t.equal((await callThrough(proxy, 'http://elsewhere.example/')).status, 403);
});

t.test('who sits at the node sees the call in its log and in what was counted; a trace goes on', async t => {
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
  const answer = await callThrough(proxy, url, { 'x-request-id': 'walk-1-seen', traceparent });
  t.equal(JSON.parse(answer.text).headers.traceparent, traceparent);
  const line = await until('the line is written', async () => {
    const lines = readFileSync(seen.accessLog.file, 'utf8').split('\n');
    return lines.find(each => each.includes('walk-1-seen'));
  });
  t.match(
    line,
    /^\[20[^\]]+Z\] "GET \/hello HTTP\/1.1" 200 - 0 \d+ \d+ - "-" "-" "walk-1-seen" "echo.default.mesh" "-"$/,
  );
  const metrics = await fetch(`http://127.0.0.1:${seen.metrics.port}/metrics`);
  t.match(
    await metrics.text(),
    /_count\{direction="outbound",service="echo.default",source="[^"]+caller",code="200"\} \d/,
  );
});

t.test('no secret of a task is in a log of its agent', async t => {
  const secret = decodeURIComponent(new URL(proxy).password);
  for (const agent of [near, far]) t.notMatch(JSON.stringify(agent?.log.entries), secret);
});

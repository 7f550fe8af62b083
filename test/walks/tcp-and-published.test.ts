/** A task that speaks TCP, called by a port on loopback over mutual TLS; and one that is published, as PeerAuthentication says. */
import { connect } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { joinAgent, makeHome, masterConfig, runMaster, untilTasks } from '../fixtures/fleet.ts';
import { job } from '../fixtures/fleet-api.ts';
import { callThrough, echoProgram } from '../fixtures/fleet-calls.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';

/** A server of some protocol of its own: it says its name first, and ends when its client has. */
const sayingProgram = [
  process.execPath,
  '-e',
  `require('node:net').createServer({ allowHalfOpen: true }, socket => {
     socket.write('ready ');
     socket.on('data', bytes => socket.write(bytes));
     socket.on('end', () => socket.end(' bye'));
   }).listen(process.env.PORT, '127.0.0.1')`,
];

const home = makeHome(t);
const ports = new FreePorts();
const master = await runMaster(t, await masterConfig(join(home, 'master'), ports));
await joinAgent(t, master, { dataDir: join(home, 'node'), node: 'node' }, ports);
const { api } = master;
const published = await ports.take();

await api.apply(
  job('db', { command: sayingProgram, ports: [{ name: 'db', protocol: 'tcp' }], service: { port: 'db' } }),
  job('caller', {
    serviceAccount: 'caller',
    upstreams: [{ service: 'db', localPort: 'auto' }],
    command: ['/bin/sh', '-c', 'echo "$UPSTREAM_DB_ADDR"; exec sleep 1000'],
  }),
  job('site', { command: echoProgram, ports: [{ name: 'http', publish: published }] }),
);
await untilTasks(api, 'db', 'TASK_RUNNING');
const [caller] = await untilTasks(api, 'caller', 'TASK_RUNNING');
await untilTasks(api, 'site', 'TASK_RUNNING');

/** All that comes back when `text` is sent and no more; empty when there is no connection. */
function converse(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  let answer = '';
  socket.setEncoding('utf8').on('data', piece => {
    answer += piece;
  });
  socket.on('error', () => {});
  socket.end(text);
  return new Promise(resolve => socket.on('close', () => resolve(answer)));
}

t.test('a task calls a service that speaks TCP by a port of its own, and the audit has it', async t => {
  const address = await until('the caller has said where db is', async () => {
    const output = await api.output(caller?.id ?? '');
    return output.endsWith('\n') && output.trim();
  });
  const port = Number(/^127\.0\.0\.1:(\d+)$/.exec(address)?.[1]);
  const answer = await until('db is there', async () => (await converse(port, 'hello')) === 'ready hello bye');
  t.ok(answer);
  const record = await until('its record is with the master', async () =>
    (await api.audit())
      .map(entry => entry.record)
      .find(({ direction, flags, method }) => direction === 'inbound' && method === '-' && flags === '-'),
  );
  t.match(record, {
    source: /sa\/caller$/,
    destination: /sa\/default$/,
    status: 0,
    verdict: 'allow',
    bytesReceived: 5,
  });
});

t.test('a published port takes clients from outside until a policy wants their certificate', async t => {
  const site = `http://127.0.0.1:${published}/`;
  const ask = () =>
    callThrough(site, site).then(
      ({ status }) => status,
      () => 0,
    );
  t.ok(await until('it answers', async () => (await ask()) === 200));
  const strict = {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: 'strict' },
    spec: { selector: { matchLabels: { app: 'site' } }, portLevelMtls: { [published]: { mode: 'STRICT' } } },
  };
  await api.apply(strict);
  t.ok(await until('it is closed to them', async () => (await ask()) === 0));
  t.ok(await until('the node has acknowledged it', async () => (await api.policies())[0]?.enforcedOn === 1));
  t.match(await api.policies(), [{ kind: 'PeerAuthentication', name: 'strict', action: 'UNSET', refusals: [] }]);
  await api.remove('PeerAuthentication', 'strict');
  t.ok(await until('and open again', async () => (await ask()) === 200));
});

t.test('two tasks of a node never meet on one port', async t => {
  await api.apply(job('rival', { command: echoProgram, ports: [{ name: 'http', publish: published }] }));
  const rival = await until('it waits', async () => {
    const [task] = await api.tasks('rival');
    return task !== undefined && task.waiting.length > 0 && task;
  });
  t.match(rival.waiting, [{ node: 'node', why: new RegExp(`needs port ${published}, not free`) }]);
});

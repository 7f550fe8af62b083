import { once } from 'node:events';
import { createServer } from 'node:http';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/device/clock.ts';
import { FakeClock } from '../../fixtures/fake-clock.ts';
import { FreePorts } from '../../fixtures/fleet-ports.ts';
import {
  byTask,
  Mesh,
  openSslPeers,
  policyOf,
  RawClient,
  rawOrigin,
  serviceOf,
  startNode,
} from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const freePorts = new FreePorts();

/** The client's task with a port of its own to `web`, and one to `db`. */
async function client(web: number, db: number, account = 'client') {
  const localPorts = [
    { port: web, upstream: 'web.default' },
    { port: db, upstream: 'db.default' },
  ];
  return { ...mesh.workload(account, { upstreams: ['web.default', 'db.default'] }), localPorts };
}

async function nodes(t: Test) {
  const seen: { url: string; host: string; caller: string }[] = [];
  const web = createServer(({ url = '', headers }, response) => {
    seen.push({ url, host: `${headers.host}`, caller: `${headers['x-forwarded-client-cert']}` });
    response.end('page');
  }).listen(0, '127.0.0.1');
  await once(web, 'listening');
  t.teardown(() => web.closeAllConnections());
  t.teardown(() => web.close());
  const db = await rawOrigin(t, (socket, text) => socket.write(`${text.length}`));
  const b = await startNode(t, {
    workloads: [
      mesh.workload('web', { appPort: (web.address() as AddressInfo).port }),
      mesh.workload('db', { appPort: db.port, protocol: 'tcp' }),
    ],
  });
  const ports = { web: await freePorts.take(), db: await freePorts.take() };
  const services = [serviceOf('web', [b.running.meshPort]), serviceOf('db', [b.running.meshPort], 'tcp')];
  const a = await startNode(t, { workloads: [await client(ports.web, ports.db)], services });
  return { a, b, seen, ports };
}

/** A connection to a port that is about to listen. */
async function reach(t: Test, port: number): Promise<RawClient> {
  for (;;) {
    const socket = connectTcp({ host: '127.0.0.1', port, allowHalfOpen: true });
    const connected = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false);
    if (!connected) continue;
    t.teardown(() => socket.destroy());
    return new RawClient(socket);
  }
}

t.test('an ordinary client reaches an HTTP service by a port of its own, as its task and under the policy', async t => {
  const { a, b, seen, ports } = await nodes(t);
  const socket = await reach(t, ports.web);
  t.match(await socket.askWhole('GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:9\r\n\r\n'), /^HTTP\/1\.1 200 .*page$/s);
  t.match(seen, [{ url: '/x?y', host: 'web.default.mesh', caller: /sa\/client$/ }]);
  b.policy.set(policyOf('deny'));
  t.match(await socket.askWhole('GET /x HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 403 /);
  await a.recorded(2);
  t.match(a.records, [
    { task: 'client-1', path: '/x', status: 200, rule: 'declared-upstream' },
    { task: 'client-1', path: '/x', status: 403 },
  ]);
  t.match(
    await socket.askWhole('GET http://db/ HTTP/1.1\r\nHost: db\r\n\r\n'),
    /^HTTP\/1\.1 421 /,
    'it leads to no other',
  );
});

t.test('any client reaches a TCP service by a port of its own', async t => {
  const { a, b, ports } = await nodes(t);
  const socket = await reach(t, ports.db);
  t.equal(await socket.ask('\u0000abc', '4'), '4');
  socket.socket.end();
  await socket.untilClosed();
  await Promise.all([a.recorded(1), b.recorded(1)]);
  t.match(a.records[0], { method: '-', host: 'db.default.mesh', task: 'client-1', bytesReceived: 4, flags: '-' });
  b.policy.set(policyOf('deny'));
  const denied = await reach(t, ports.db);
  denied.write('x');
  t.equal(await denied.untilClosed(), '');
});

t.test('a port goes with its task, and the next task may have it at once', async t => {
  const { a, ports } = await nodes(t);
  const first = await reach(t, ports.db);
  await first.ask('1', '1');
  a.workloads.set(byTask([await client(ports.web, ports.db, 'other')]));
  await first.untilClosed();
  const second = await reach(t, ports.db);
  await second.ask('12', '2');
  second.socket.end();
  await second.untilClosed();
  await a.recorded(2);
  t.same(a.records.map(({ task }) => task).sort(), ['client-1', 'other-1']);
  a.workloads.set(byTask([]));
  const refused = connectTcp(ports.db, '127.0.0.1');
  t.match((await once(refused, 'error').catch((error: Error) => [error]))[0], { code: 'ECONNREFUSED' });
});

t.test('a port that somebody else has is had when it is free', async t => {
  const squatter = createTcpServer().listen(0, '127.0.0.1');
  await once(squatter, 'listening');
  const { port } = squatter.address() as AddressInfo;
  const clock = new FakeClock();
  const { b } = await nodes(t);
  const services = [serviceOf('db', [b.running.meshPort], 'tcp')];
  const a = await startNode(t, { clock, peers: openSslPeers(systemClock), services });
  const { sleepers } = clock;
  a.workloads.set(byTask([await client(await freePorts.take(), port)]));
  await clock.untilSleeping(sleepers + 1);
  squatter.close();
  await once(squatter, 'close');
  await clock.advance(5_000);
  const socket = await reach(t, port);
  t.equal(await socket.ask('1', '1'), '1');
});

t.test('while nothing is known of the service, its port leads nowhere', async t => {
  const port = await freePorts.take();
  const a = await startNode(t, { workloads: [await client(await freePorts.take(), port)] });
  const knock = () => connectTcp(port, '127.0.0.1').on('error', () => a.records.length === 0 && setImmediate(knock));
  knock();
  await a.recorded(1);
  t.match(a.records[0], { flags: 'UH', task: 'client-1', verdict: 'allow' });
});

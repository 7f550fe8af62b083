import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/device/clock.ts';
import type { ServiceDocument } from '../../src/model/service.ts';
import { destinationsOf } from '../fixtures/destination-rules.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import {
  Mesh,
  type NodeOptions,
  openSslPeers,
  policyOf,
  RawClient,
  rawOrigin,
  serviceOf,
  spiffe,
  startNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const basic = Buffer.from('client-1:secret-of-client').toString('base64');
const credential = `Proxy-Authorization: Basic ${basic}\r\n`;
const connectTo = (authority: string) => `CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\n${credential}\r\n`;

interface Options {
  readonly caller?: NodeOptions;
  readonly server?: NodeOptions;
  readonly document?: Partial<ServiceDocument>;
}

/** Node A runs the caller, node B a service that speaks TCP at `appPort`. */
async function twoNodes(t: Test, appPort: number, options: Options = {}) {
  const db = mesh.workload('db', { appPort, protocol: 'tcp' });
  const b = await startNode(t, { ...options.server, workloads: [db] });
  const a = await startNode(t, {
    ...options.caller,
    workloads: [mesh.workload('client', { upstreams: ['db.default'] })],
    services: [{ ...serviceOf('db', [b.running.meshPort], 'tcp'), ...options.document }],
  });
  return { a, b };
}

/** A client that asked for `db` and has its tunnel. */
async function tunnel(t: Test, port: number): Promise<RawClient> {
  const client = await RawClient.plain(t, port);
  t.equal(await client.ask(connectTo('db:5432'), '\r\n\r\n'), 'HTTP/1.1 200 Connection established\r\n\r\n');
  client.received = '';
  return client;
}

t.test(
  'CONNECT reaches a TCP service through both proxies, and each of them makes a record when it is over',
  async t => {
    const origin = await rawOrigin(t, (socket, text) => {
      if (text.endsWith('?')) socket.write(`${text.length} bytes`);
    });
    const { a, b } = await twoNodes(t, origin.port);
    const client = await tunnel(t, a.running.outboundPort);
    t.equal(await client.ask('\u0000\u0001 anything?', 'bytes'), '12 bytes');
    client.socket.end();
    await client.untilClosed();
    await Promise.all([a.recorded(1), b.recorded(1)]);
    const shared = { method: '-', path: '-', status: 0, bytesReceived: 12, bytesSent: 8, verdict: 'allow', flags: '-' };
    const source = spiffe('client').slice('spiffe://'.length);
    t.match(a.records, [
      { ...shared, direction: 'outbound', source, host: 'db.default.mesh', rule: 'declared-upstream' },
    ]);
    t.match(b.records, [{ ...shared, direction: 'inbound', source, task: 'db-1', rule: 'no-policy' }]);
  },
);

t.test('a server that speaks first is heard', async t => {
  const server = createServer(socket => socket.end('220 ready\r\n')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { a } = await twoNodes(t, (server.address() as AddressInfo).port);
  const client = await RawClient.plain(t, a.running.outboundPort);
  client.write(connectTo('db:5432'));
  t.match(await client.untilClosed(), /^HTTP\/1\.1 200 .*\r\n\r\n220 ready\r\n$/s);
});

t.test('what is sent right behind the CONNECT is not lost', async t => {
  const origin = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('early')) socket.end('late');
  });
  const { a } = await twoNodes(t, origin.port);
  const client = await RawClient.plain(t, a.running.outboundPort);
  client.write(`${connectTo('db.default.mesh:1')}early`);
  t.match(await client.untilClosed(), /\r\n\r\nlate$/);
  t.equal(origin.seen(), 'early');
});

t.test('each way ends by itself', async t => {
  const server = createServer({ allowHalfOpen: true }, socket => {
    let text = '';
    socket.setEncoding('latin1').on('data', piece => {
      text += piece;
    });
    socket.on('end', () => socket.end(`${text} and the answer, after the end of the question`));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { a } = await twoNodes(t, (server.address() as AddressInfo).port);
  const client = await tunnel(t, a.running.outboundPort);
  client.socket.end('the question');
  t.equal(await client.untilClosed(), 'the question and the answer, after the end of the question');
});

t.test('a peer that has one TLS connection for each is served the same, half-close and all', async t => {
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.setEncoding('latin1').on('data', piece => socket.write(piece));
    socket.on('end', () => socket.end(', to the end'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { b } = await twoNodes(t, (server.address() as AddressInfo).port);
  const client = await RawClient.mesh(t, mesh, 'client', b, '1.db.default.mesh');
  client.socket.end('echoed');
  t.equal(await client.untilClosed(), 'echoed, to the end');
});

t.test('what a client sends after the server has ended its side still arrives, whole', async t => {
  let received = 0;
  let over: () => void = () => {};
  const whole = new Promise<void>(resolve => {
    over = resolve;
  });
  const server = createServer({ allowHalfOpen: true }, socket => {
    socket.end('no more from me');
    socket.pause();
    // reads so slowly that much is under way when the client has gone
    const piece = () => {
      const bytes = socket.read();
      if (bytes !== null) received += bytes.length;
    };
    socket.on('readable', () => setImmediate(piece));
    socket.on('end', over);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { a } = await twoNodes(t, (server.address() as AddressInfo).port);
  const client = await tunnel(t, a.running.outboundPort);
  await client.until('no more from me');
  client.socket.end(Buffer.alloc(3_000_000, 'x'));
  await whole;
  t.equal(received, 3_000_000);
});

t.test('a slow reader slows the other side down, and nothing is lost', async t => {
  let sent = 0;
  const total = 64 * 1024 * 1024;
  const chunk = Buffer.alloc(64 * 1024, 'y');
  const pump = (socket: Socket) => {
    while (sent < total) {
      sent += chunk.length;
      if (!socket.write(chunk)) return void socket.once('drain', () => pump(socket));
    }
    socket.end();
  };
  const server = createServer(pump).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const { a } = await twoNodes(t, (server.address() as AddressInfo).port);
  const socket = connect(a.running.outboundPort, '127.0.0.1');
  t.teardown(() => socket.destroy());
  socket.write(connectTo('db:5432'));
  await once(socket, 'readable');
  let before = -1;
  // until the whole way is full
  while (before !== sent) {
    before = sent;
    for (let turn = 0; turn < 200; turn++) await new Promise(resolve => setImmediate(resolve));
  }
  t.ok(sent < total, `the server was stopped after ${sent} bytes`);
  let received = 0;
  socket.on('data', bytes => {
    received += bytes.length;
  });
  await once(socket, 'end');
  t.equal(received, total + 'HTTP/1.1 200 Connection established\r\n\r\n'.length);
});

t.test('L4 policy decides at the connection: who is denied is cut off, and the application hears nothing', async t => {
  const origin = await rawOrigin(t, socket => socket.end('secret'));
  const deny = (source: object) => ({ action: 'DENY', rules: [{ from: [{ source }] }] });
  const policy = policyOf('allow', deny({ principals: ['*/sa/client'] }));
  const { a, b } = await twoNodes(t, origin.port, { server: { policy } });
  const client = await tunnel(t, a.running.outboundPort);
  client.write('hello');
  t.equal(await client.untilClosed(), '');
  await b.recorded(1);
  t.match(b.records[0], { verdict: 'deny', rule: 'default/p0#0', method: '-', status: 0 });
  t.equal(origin.seen(), '');
});

t.test('a field that only HTTP has makes an ALLOW vanish and a DENY wider', async t => {
  const origin = await rawOrigin(t, socket => socket.end('answer'));
  const { a, b } = await twoNodes(t, origin.port);
  const ask = async (spec: object) => {
    b.policy.set(policyOf('allow', spec));
    const client = await tunnel(t, a.running.outboundPort);
    client.write('hello');
    return client.untilClosed();
  };
  const rules = [{ to: [{ operation: { methods: ['GET'] } }] }];
  t.equal(await ask({ action: 'ALLOW', rules }), '');
  t.equal(await ask({ action: 'DENY', rules }), '');
  t.equal(
    await ask({ action: 'ALLOW', rules: [...rules, { from: [{ source: { namespaces: ['default'] } }] }] }),
    'answer',
  );
  const ports = [`${origin.port}`];
  t.equal(await ask({ action: 'DENY', rules: [{ to: [{ operation: { ports, methods: ['GET'] } }] }] }), '');
  t.equal(
    await ask({ action: 'DENY', rules: [{ to: [{ operation: { ports: ['1'], methods: ['GET'] } }] }] }),
    'answer',
  );
});

t.test('a newer policy leaves open connections alone; a revocation ends them on both nodes', async t => {
  const origin = await rawOrigin(t, (socket, text) => socket.write(text.slice(-1)));
  let trusted = true;
  const peers = { ...openSslPeers(systemClock), mayStay: () => trusted };
  const { a, b } = await twoNodes(t, origin.port, { server: { peers }, caller: { peers } });
  const first = await tunnel(t, a.running.outboundPort);
  await first.ask('1', '1');
  b.policy.set(policyOf('deny'));
  t.equal(await first.ask('2', '2'), '2', 'as with Envoy');
  trusted = false;
  b.proxy.recheck();
  await first.untilClosed();
  trusted = true;
  b.policy.set(policyOf('allow'));
  const second = await tunnel(t, a.running.outboundPort);
  await second.ask('3', '3');
  trusted = false;
  a.proxy.recheck();
  await second.untilClosed();
  t.ok(true, 'both were closed');
});

t.test('an endpoint that cannot be reached is passed over, and when none can the client is told', async t => {
  const origin = await rawOrigin(t, socket => socket.end('there'));
  const { b } = await twoNodes(t, origin.port);
  const closed = createServer().listen(0, '127.0.0.1');
  await once(closed, 'listening');
  const deadPort = (closed.address() as AddressInfo).port;
  closed.close();
  await once(closed, 'close');
  const caller = (ports: readonly number[]) =>
    startNode(t, {
      workloads: [mesh.workload('client', { upstreams: ['db.default'] })],
      services: [serviceOf('db', ports, 'tcp')],
    });
  const a = await caller([deadPort, b.running.meshPort]);
  for (let i = 0; i < 8; i++) {
    const client = await tunnel(t, a.running.outboundPort);
    client.write('x');
    t.equal(await client.untilClosed(), 'there');
  }
  const alone = await caller([deadPort]);
  const client = await RawClient.plain(t, alone.running.outboundPort);
  client.write(connectTo('db:5432'));
  t.match(await client.untilClosed(), /^HTTP\/1\.1 503 .*connection: close\r\n.*connection failure$/s);
  await alone.recorded(1);
  t.match(alone.records[0], { flags: 'UF', status: 503 });
});

t.test('an application that breaks breaks the connection of its client', async t => {
  const origin = await rawOrigin(t, socket => socket.resetAndDestroy());
  const { a } = await twoNodes(t, origin.port);
  const client = await tunnel(t, a.running.outboundPort);
  client.write('x');
  t.equal(await client.untilClosed(), '');
});

t.test('a connection without a byte for an hour is closed', async t => {
  const clock = new FakeClock();
  const origin = await rawOrigin(t, (socket, text) => socket.write(text.slice(-1)));
  const { a } = await twoNodes(t, origin.port, { caller: { clock, peers: openSslPeers(systemClock) } });
  const client = await tunnel(t, a.running.outboundPort);
  await client.ask('1', '1');
  await clock.advance(59 * 60_000);
  t.equal(await client.ask('2', '2'), '2');
  await clock.advance(61 * 60_000);
  const [application] = origin.connections;
  if (application !== undefined) await Promise.all([client.untilClosed(), once(application, 'close')]);
  t.equal(origin.connections.size, 0);
});

t.test('a DestinationRule says how long a connection may be silent', async t => {
  const clock = new FakeClock();
  const origin = await rawOrigin(t, (socket, text) => socket.write(text.slice(-1)));
  const { a } = await twoNodes(t, origin.port, { caller: { clock, peers: openSslPeers(systemClock) } });
  a.destinations.set(destinationsOf('db', { trafficPolicy: { connectionPool: { tcp: { idleTimeout: '10s' } } } }));
  const client = await tunnel(t, a.running.outboundPort);
  await client.ask('1', '1');
  await clock.advance(9_000);
  t.equal(await client.ask('2', '2'), '2');
  await clock.advance(12_000);
  await client.untilClosed();
});

t.test('under consistent hashing by source a task keeps its endpoint', async t => {
  const asked = [0, 0, 0];
  const nodes = await Promise.all(
    asked.map(async (_, i) => {
      const origin = await rawOrigin(t, socket => {
        asked[i] = (asked[i] ?? 0) + 1;
        socket.write('!');
      });
      return startNode(t, { workloads: [mesh.workload('db', { appPort: origin.port, protocol: 'tcp' })] });
    }),
  );
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['db.default'] })],
    services: [
      serviceOf(
        'db',
        nodes.map(node => node.running.meshPort),
        'tcp',
      ),
    ],
  });
  const loadBalancer = { consistentHash: { useSourceIp: true } };
  a.destinations.set(destinationsOf('db', { trafficPolicy: { loadBalancer } }));
  for (let i = 0; i < 6; i++) await (await tunnel(t, a.running.outboundPort)).ask('?', '!');
  t.same([...asked].sort(), [0, 0, 6]);
});

t.test('a service that speaks TCP is not asked in HTTP', async t => {
  const origin = await rawOrigin(t, socket => socket.end('never'));
  const { a } = await twoNodes(t, origin.port);
  const client = await RawClient.plain(t, a.running.outboundPort);
  const answer = await client.askWhole(`GET http://db/ HTTP/1.1\r\nHost: db\r\n${credential}\r\n`);
  t.match(answer, /^HTTP\/1\.1 400 .*db\.default speaks plain TCP/s);
});

import { createHash, type Hash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { seededRandom } from '../../src/base/random.ts';
import { systemClock } from '../../src/device/clock.ts';
import {
  Mesh,
  type NodeOptions,
  openSslPeers,
  RawClient,
  rawOrigin,
  serviceOf,
  startNode,
  type TestNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const credential = `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}`;
const call = `GET http://web/ HTTP/1.1\r\nHost: web\r\nProxy-Authorization: ${credential}\r\n\r\n`;
const mib = 1024 * 1024;

function portOf(server: { address(): unknown }): number {
  const address = server.address();
  return typeof address === 'object' && address !== null && 'port' in address ? Number(address.port) : 0;
}

function serving(t: Test, appPort: number, options: NodeOptions = {}): Promise<TestNode> {
  return startNode(t, { workloads: [mesh.workload('web', { appPort })], ...options });
}

function calling(t: Test, ports: readonly number[], options: NodeOptions = {}): Promise<TestNode> {
  return startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', ports)],
    ...options,
  });
}

async function untilTrue(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise(resolve => setImmediate(resolve));
}

/** An application that answers what comes for `path` at once, and lets all else wait. */
function answering(t: Test, path: string) {
  return rawOrigin(t, (socket, text) => {
    const request = text.slice(text.lastIndexOf(' /') + 1);
    if (request.startsWith(`${path} `)) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
}

/**
 * Answers with as many bytes as the request asks for, the request's id, and the hash of what it sent; nobody is answered before
 * `together` requests are there.
 */
async function echoing(t: Test, together = 1) {
  const answers: (() => void)[] = [];
  let arrived = 0;
  const server = createServer((request, response) => {
    const hash = createHash('sha256');
    request.on('data', (bytes: Buffer) => hash.update(bytes));
    request.on('end', () => {
      response.setHeader('x-id', String(request.headers['x-id']));
      response.setHeader('x-hash', hash.digest('hex'));
      answers.push(() => response.end(bodyOf(Number(request.headers['x-id']), Number(request.headers['x-answer']))));
      if (++arrived >= together) for (const answer of answers.splice(0)) answer();
    });
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1', 2048);
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  return server;
}

/** Bytes that tell of which request they are. */
function bodyOf(id: number, length: number): Buffer {
  return Buffer.alloc(length, `${id} `);
}

interface Call {
  readonly id: number;
  readonly sends: number;
  readonly answer: number;
}

/** Sends a request to `web` by the outbound proxy; resolves to why its answer is not the right one, or undefined. */
async function askById(agent: Agent, port: number, { id, sends, answer }: Call): Promise<string | undefined> {
  const body = bodyOf(id, sends);
  const request = httpRequest({
    agent,
    host: '127.0.0.1',
    port,
    method: sends > 0 ? 'POST' : 'GET',
    path: 'http://web.default.mesh/',
    headers: { 'proxy-authorization': credential, 'x-id': id, 'x-answer': answer, 'content-length': sends },
  });
  request.end(body);
  const [response]: IncomingMessage[] = await once(request, 'response');
  if (response === undefined) return 'no response';
  const hash = createHash('sha256');
  for await (const piece of response) hash.update(piece);
  const { statusCode, headers } = response;
  if (statusCode !== 200) return `status ${statusCode}`;
  if (headers['x-id'] !== String(id)) return `the answer to ${headers['x-id']}`;
  if (headers['x-hash'] !== digest(createHash('sha256').update(body))) return 'the request arrived changed';
  return hash.digest('hex') === digest(createHash('sha256').update(bodyOf(id, answer)))
    ? undefined
    : 'a changed answer';
}

function digest(hash: Hash): string {
  return hash.digest('hex');
}

t.test('a thousand calls at once, with bodies both ways: each gets its own answer', async t => {
  const app = await echoing(t, 1000);
  const bounds = { maxConnections: 2048, maxUpstreamConnections: 2048 };
  const b = await serving(t, portOf(app), { bounds });
  const a = await calling(t, [b.running.meshPort], { bounds });
  const agent = new Agent({ keepAlive: true, maxSockets: 1000 });
  t.teardown(() => agent.destroy());
  const random = seededRandom(11);
  const sizes = [0, 10, 3_000, 20_000, 150_000];
  const size = () => sizes[Math.floor(random() * sizes.length)] ?? 0;
  const calls = Array.from({ length: 2000 }, (_, id) => ({ id, sends: size(), answer: size() }));
  const answers = await Promise.all(calls.map(each => askById(agent, a.running.outboundPort, each)));
  t.same(
    answers.filter(wrong => wrong !== undefined),
    [],
  );
  const connections = b.proxy.snapshot().inboundConnections;
  t.ok(connections >= 8 && connections <= 9, `${connections} connections between the nodes`);
});

t.test('a call that its task gives up is taken back from the application, and the others go on', async t => {
  const origin = await answering(t, '/');
  const b = await serving(t, origin.port);
  const a = await calling(t, [b.running.meshPort]);
  const [gone, other] = [
    await RawClient.plain(t, a.running.outboundPort),
    await RawClient.plain(t, a.running.outboundPort),
  ];
  t.match(await other.askWhole(call), /^HTTP\/1\.1 200/);
  gone.write(call.replace('http://web/', 'http://web/slow'));
  await untilTrue(() => origin.seen().includes('/slow'));
  t.equal(origin.connections.size, 1);
  gone.socket.resetAndDestroy();
  await untilTrue(() => origin.connections.size === 0);
  t.match(await other.askWhole(call), /^HTTP\/1\.1 200/);
  t.equal(b.proxy.snapshot().inboundConnections, 1);
  await b.recorded(3);
  t.match(b.records.map(({ flags }) => flags).sort(), ['-', '-', 'DC']);
});

t.test('an answer that breaks off is cut off at the task too', async t => {
  const origin = await rawOrigin(t, socket => {
    socket.end('HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhalf');
  });
  const b = await serving(t, origin.port);
  const a = await calling(t, [b.running.meshPort]);
  const task = await RawClient.plain(t, a.running.outboundPort);
  task.write(call);
  t.match(await task.untilClosed(), /^HTTP\/1\.1 200 .*half$/s);
  await a.recorded(1);
  t.equal(a.records[0]?.flags, 'UC');
});

t.test('a task that does not read its answer holds up nobody else', async t => {
  const large = Buffer.alloc(32 * mib, 'x');
  let sent = 0;
  const server = createServer((request, response) => {
    if (request.url === '/') response.end('ok');
    else {
      response.setHeader('content-length', large.length);
      response.write(large, () => {
        sent = large.length;
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const b = await serving(t, portOf(server));
  const a = await calling(t, [b.running.meshPort]);
  const [slow, quick] = [
    await RawClient.plain(t, a.running.outboundPort),
    await RawClient.plain(t, a.running.outboundPort),
  ];
  slow.write(call.replace('http://web/', 'http://web/large'));
  await slow.until('xxx');
  slow.socket.pause();
  for (let i = 0; i < 200; i++) t.match(await quick.askWhole(call), /^HTTP\/1\.1 200/);
  t.equal(sent, 0, 'the application waits too');
  t.equal(b.proxy.snapshot().inboundConnections, 1);
  slow.socket.resume();
  while (slow.received.length < large.length) await once(slow.socket, 'data');
});

t.test('a node that stops serving drops no call, of whatever method', async t => {
  const app = await echoing(t);
  const [b, c] = [await serving(t, portOf(app)), await serving(t, portOf(app))];
  const a = await calling(t, [b.running.meshPort, c.running.meshPort]);
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  t.teardown(() => agent.destroy());
  const wrong: unknown[] = [];
  let id = 0;
  const callOn = async () => {
    while (id < 1500) {
      const answer = askById(agent, a.running.outboundPort, { id: id++, sends: id % 3 === 0 ? 0 : 50, answer: 100 });
      const verdict = await answer.catch(error => error);
      if (verdict !== undefined) wrong.push(verdict);
    }
  };
  const callers = Array.from({ length: 16 }, callOn);
  await untilTrue(() => id > 500);
  t.ok(b.records.length > 0);
  await b.stop();
  const before = c.records.length;
  await Promise.all(callers);
  t.same(wrong, []);
  t.ok(c.records.length > before);
});

t.test('trust that ends closes the connection on either side, and calls that come later open another', async t => {
  const origin = await answering(t, '/');
  let mayStay = true;
  let slow = 1;
  const peers = { ...openSslPeers(systemClock), mayStay: () => mayStay };
  const b = await serving(t, origin.port, { peers });
  const a = await calling(t, [b.running.meshPort], { peers });
  for (const node of [a, b]) {
    const [idle, busy] = [
      await RawClient.plain(t, a.running.outboundPort),
      await RawClient.plain(t, a.running.outboundPort),
    ];
    t.match(await idle.askWhole(call), /^HTTP\/1\.1 200/);
    busy.write(call.replace('GET http://web/', `POST http://web/slow-${slow}`));
    await untilTrue(() => origin.seen().includes(`slow-${slow}`));
    slow++;
    mayStay = false;
    node.proxy.recheck();
    t.match(await busy.until('termination'), /^HTTP\/1\.1 503 /);
    await untilTrue(() => b.proxy.snapshot().inboundConnections === 0);
    mayStay = true;
    t.match(await idle.askWhole(call), /^HTTP\/1\.1 200/);
  }
});

t.test('streams that an endpoint has no room for are sent to another', async t => {
  const origin = await answering(t, '/quick');
  const full = await serving(t, origin.port, { bounds: { maxConnections: 1 } });
  const roomy = await serving(t, origin.port);
  const a = await calling(t, [full.running.meshPort, roomy.running.meshPort]);
  const post = (path: string) => call.replace('GET http://web/', `POST http://web/${path}`);
  const tasks = await Promise.all(Array.from({ length: 12 }, () => RawClient.plain(t, a.running.outboundPort)));
  for (const [i, task] of tasks.slice(0, 8).entries()) {
    task.write(post('slow'));
    await untilTrue(() => (origin.seen().match(/POST \/slow/g)?.length ?? 0) === i + 1);
  }
  for (const task of tasks.slice(8)) t.match(await task.askWhole(post('quick')), /^HTTP\/1\.1 200/);
  t.ok(full.proxy.snapshot().inboundConnections === 1);
});

t.test('a service behind a proxy that speaks HTTP/1.1 alone is called all the same', async t => {
  const { keyPem, chainPem } = mesh.identity('web');
  const ca = mesh.authority.authority.rootPem;
  let connections = 0;
  const server = createTlsServer({ key: keyPem, cert: chainPem, ca, requestCert: true, ALPNProtocols: ['http/1.1'] });
  server.on('secureConnection', socket => {
    connections++;
    t.teardown(() => socket.destroy());
    socket.on('error', () => {});
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const a = await calling(t, [portOf(server)]);
  const tasks = await Promise.all(Array.from({ length: 4 }, () => RawClient.plain(t, a.running.outboundPort)));
  for (let i = 0; i < 3; i++) {
    const answers = await Promise.all(tasks.map(task => task.askWhole(call)));
    for (const answer of answers) t.match(answer, /^HTTP\/1\.1 200/);
  }
  t.equal(connections, 4);
});

t.test('WebSockets are streams as well, beside ordinary calls and each with its own end', async t => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  t.teardown(() => server.close());
  server.on('connection', socket => socket.on('message', data => socket.send(data)));
  const b = await serving(t, portOf(server));
  const a = await calling(t, [b.running.meshPort]);
  const options = {
    headers: { 'proxy-authorization': credential },
    finishRequest: (request: { path: string; end(): void }) => {
      request.path = 'http://web.default.mesh/socket';
      request.end();
    },
  };
  const sockets = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${a.running.outboundPort}/`, options);
      await once(socket, 'open');
      return socket;
    }),
  );
  t.equal(b.proxy.snapshot().inboundConnections, 1);
  const [first, ...others] = sockets;
  first?.terminate();
  for (const [i, socket] of others.entries()) {
    const text = Buffer.alloc(200_000, `${i} `);
    socket.send(text);
    t.ok(text.equals((await once(socket, 'message'))[0]));
    socket.close(1000);
    t.equal((await once(socket, 'close'))[0], 1000);
  }
  await a.recorded(20);
});

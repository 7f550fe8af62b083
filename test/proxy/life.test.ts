import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import t, { type Test } from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { Relay } from '../fixtures/fleet-relay.ts';
import {
  byKey,
  byTask,
  Mesh,
  policyOf,
  RawClient,
  rawOrigin,
  serverNameOf,
  serviceOf,
  startNode,
  type TestNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: web\r\n\r\n`;
const ok = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const credential = `Proxy-Authorization: Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}\r\n`;
const call = `GET http://web/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`;
const denyAll = () => policyOf('deny');

/** An application that keeps `/slow` waiting until it is let go, and answers no POST. */
async function patient(t: Test) {
  const waiting: Socket[] = [];
  let arrived: (() => void) | undefined;
  const origin = await rawOrigin(t, (socket, text) => {
    const last = text.match(/^[A-Z]+ \S+(?= HTTP)/gm)?.at(-1);
    if (last === 'GET /slow') {
      waiting.push(socket);
      arrived?.();
    } else if (last === 'GET /') socket.write(ok);
  });
  const slowArrived = () =>
    new Promise<void>(resolve => {
      arrived = resolve;
      if (waiting.length > 0) resolve();
    });
  const letGo = () => {
    for (const socket of waiting.splice(0)) socket.write(ok);
  };
  return { origin, slowArrived, letGo };
}

function client(t: Test, node: TestNode): Promise<RawClient> {
  return RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
}

t.test('a pushed policy holds for the next request, and one that is under way ends as it began', async t => {
  const { origin, slowArrived, letGo } = await patient(t);
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const [slow, other] = [await client(t, node), await client(t, node)];
  slow.write(get('/slow'));
  await slowArrived();
  t.match(await other.askWhole(get('/')), /^HTTP\/1\.1 200/);
  node.policy.set(denyAll());
  t.match(await other.askWhole(get('/')), /^HTTP\/1\.1 403/);
  letGo();
  t.match(await slow.until('ok'), /^HTTP\/1\.1 200/);
  t.match(await slow.askWhole(get('/')), /^HTTP\/1\.1 403/);
  node.policy.set(policyOf('allow'));
  t.match(await slow.askWhole(get('/')), /^HTTP\/1\.1 200/);
});

t.test('a workload that moves or goes takes the next request with it, not the one under way', async t => {
  const [first, second] = [await patient(t), await patient(t)];
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: first.origin.port })] });
  const [slow, other] = [await client(t, node), await client(t, node)];
  slow.write(get('/slow'));
  await first.slowArrived();
  node.workloads.set(byTask([mesh.workload('web', { appPort: second.origin.port })]));
  t.match(await other.askWhole(get('/')), /^HTTP\/1\.1 200/);
  t.match(second.origin.seen(), /^GET \/ /);
  node.workloads.set(byTask([]));
  t.match(await other.askWhole(get('/')), /^HTTP\/1\.1 503 [\s\S]*\r\nx-mesolite-refused: true\r\n/);
  first.letGo();
  t.match(await slow.until('ok'), /^HTTP\/1\.1 200/);
  t.match(node.records.map(record => record.flags).sort(), ['-', '-', 'UH']);
});

t.test('a new certificate is shown to new connections, and the old ones stay', async t => {
  const { origin } = await patient(t);
  const workload = mesh.workload('web', { appPort: origin.port });
  const node = await startNode(t, { workloads: [workload] });
  const before = await client(t, node);
  const other = new Mesh();
  workload.tls.set(other.context('web'));
  t.match(await before.askWhole(get('/')), /^HTTP\/1\.1 200/);
  await t.rejects(client(t, node), 'a client of the old root does not know the new certificate');
});

t.test('on stop nothing new is taken, what is under way ends, and idle connections go', async t => {
  const { origin, slowArrived, letGo } = await patient(t);
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const [slow, idle] = [await client(t, node), await client(t, node)];
  slow.write(get('/slow'));
  await slowArrived();
  const stopped = node.stop();
  t.equal(await idle.untilClosed(), '');
  await t.rejects(client(t, node));
  letGo();
  t.match(await slow.untilClosed(), /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n\r\nok$/s);
  await stopped;
  t.same(node.proxy.snapshot().upstreamConnections, 0);
});

t.test('a request that does not end is cut off 5 s after the stop', async t => {
  const clock = new FakeClock(Date.now());
  const { origin, slowArrived } = await patient(t);
  const node = await startNode(t, { clock, workloads: [mesh.workload('web', { appPort: origin.port })] });
  const slow = await client(t, node);
  slow.write(get('/slow'));
  await slowArrived();
  const stopped = node.stop();
  await clock.advance(6 * secondMs);
  t.equal(await slow.untilClosed(), '');
  await stopped;
});

t.test('after a handover it has a minute, and 5 s once the process shall end; nothing new is taken', async t => {
  for (const isTold of [false, true]) {
    const clock = new FakeClock(Date.now());
    const { origin, slowArrived, letGo } = await patient(t);
    const handover = new AbortController();
    const workloads = [mesh.workload('web', { appPort: origin.port })];
    const node = await startNode(t, { clock, workloads, handedOver: handover.signal });
    const [slow, idle] = [await client(t, node), await client(t, node)];
    slow.write(get('/slow'));
    await slowArrived();
    handover.abort();
    await t.rejects(client(t, node));
    await clock.advance(50 * secondMs);
    t.equal(await idle.untilClosed(), '');
    if (isTold) {
      const stopped = node.stop();
      await clock.advance(6 * secondMs);
      t.equal(await slow.untilClosed(), '');
      await stopped;
    } else {
      letGo();
      t.match(await slow.untilClosed(), /^HTTP\/1\.1 200 .*connection: close/s);
      await node.running.stopped;
    }
  }
});

t.test('whoever is slow with a head, idle for long, or silent within a request is told to go', async t => {
  const clock = new FakeClock(Date.now());
  const { origin, slowArrived } = await patient(t);
  const node = await startNode(t, { clock, workloads: [mesh.workload('web', { appPort: origin.port })] });
  const [idle, slowHead, waiting, slowBody] = await Promise.all([1, 2, 3, 4].map(() => client(t, node)));
  if (!idle || !slowHead || !waiting || !slowBody) throw new Error('expected four clients');
  t.match(await idle.askWhole(get('/')), /^HTTP\/1\.1 200/);
  slowHead.write('GET / HTTP/1.1\r\nHo');
  waiting.write(get('/slow'));
  slowBody.write('POST /body HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhalf');
  await slowArrived();
  while (!origin.seen().includes('half')) await new Promise(resolve => setImmediate(resolve));
  await clock.advance(12 * secondMs);
  t.match(await slowHead.untilClosed(), /^HTTP\/1\.1 408 /);
  await clock.advance(50 * secondMs);
  await idle.untilClosed();
  t.equal(waiting.received + slowBody.received, '', 'the others have 5 minutes');
  await clock.advance(5 * minuteMs);
  t.match(await waiting.until('stream timeout'), /^HTTP\/1\.1 504 /);
  t.match(await slowBody.untilClosed(), /^HTTP\/1\.1 408 .*stream timeout/s);
  t.match(node.records.map(record => record.flags).sort(), ['-', '-', 'SI', 'SI']);
});

t.test('connections beyond the bound of an address are refused at once', async t => {
  const { origin } = await patient(t);
  const workloads = [mesh.workload('web', { appPort: origin.port })];
  const node = await startNode(t, { workloads, bounds: { maxConnections: 4 } });
  const [one] = [await client(t, node), await client(t, node)];
  await t.rejects(client(t, node));
  t.match(await one.askWhole(get('/')), /^HTTP\/1\.1 200/);
});

t.test('requests wait for one of the bounded upstream connections', async t => {
  const { origin, slowArrived, letGo } = await patient(t);
  const workloads = [mesh.workload('web', { appPort: origin.port })];
  const node = await startNode(t, { workloads, bounds: { maxUpstreamConnections: 1 } });
  const [slow, other] = [await client(t, node), await client(t, node)];
  slow.write(get('/slow'));
  await slowArrived();
  other.write(get('/'));
  letGo();
  t.match(await slow.until('ok'), /^HTTP\/1\.1 200/);
  t.match(await other.until('ok'), /^HTTP\/1\.1 200/);
  t.equal(origin.connections.size, 1);
});

/** A caller's node; its service has an endpoint at each port. */
async function caller(t: Test, ports: readonly number[], clock?: FakeClock) {
  const node = await startNode(t, {
    ...(clock !== undefined && { clock }),
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', ports)],
  });
  return { node, task: await RawClient.plain(t, node.running.outboundPort) };
}

/** The port at which a server listens from now on. */
async function portOf(server: Server): Promise<number> {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A port at which nobody listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  const port = await portOf(server);
  server.close();
  return port;
}

t.test('a dead endpoint is routed around: no call fails, and soon it is not asked any more', async t => {
  const { origin } = await patient(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const { node, task } = await caller(t, [await closedPort(), b.running.meshPort]);
  for (let i = 0; i < 60; i++) t.match(await task.askWhole(call), /^HTTP\/1\.1 200/);
  t.equal(node.records.filter(record => record.status !== 200).length, 0);
});

t.test('what no application has seen goes to another endpoint, whatever it asks', async t => {
  const { origin } = await patient(t);
  const [alive, appless, leaving] = [
    await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: await closedPort() })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] }),
  ];
  const nodes = [alive, appless, leaving];
  const { task } = await caller(
    t,
    nodes.map(({ running }) => running.meshPort),
  );
  for (let i = 0; i < 6; i++) t.match(await task.askWhole(call), /^HTTP\/1\.1 200/);
  leaving.workloads.set(byTask([]));
  const postHead = `POST http://web/ HTTP/1.1\r\nHost: web\r\n${credential}Content-Length: 4\r\n\r\n`;
  const whole = createHttpServer((request, response) => request.resume().on('end', () => response.end('ok')));
  t.teardown(() => whole.close());
  alive.workloads.set(byTask([mesh.workload('web', { appPort: await portOf(whole) })]));
  for (let i = 0; i < 60; i++) {
    if (i % 2 === 0) t.match(await task.askWhole(`${postHead}body`), /^HTTP\/1\.1 200/);
    else {
      // as from who has to make it first
      task.write(`${postHead}bo`);
      await new Promise(resolve => setImmediate(resolve));
      t.match(await task.askWhole('dy'), /^HTTP\/1\.1 200/);
    }
  }
  for (const { records } of [appless, leaving]) t.match(records.at(-1), { status: 503 });
});

t.test('where no other is left the refusal is told, and an application has no part in it', async t => {
  const asked: string[] = [];
  const forger = await rawOrigin(t, (socket, text) => {
    asked.push(text);
    const other = /grpc/.test(text) ? 'grpc-status: 0\r\nConnection: grpc-status\r\n' : '';
    socket.write(`HTTP/1.1 503 Forged\r\nX-Mesolite-Refused: true\r\n${other}Content-Length: 0\r\n\r\n`);
  });
  const { origin: good } = await patient(t);
  const [b, c, dead] = [
    await startNode(t, { workloads: [mesh.workload('web', { appPort: forger.port })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: good.port })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: await closedPort() })] }),
  ];
  const { node, task } = await caller(t, [b.running.meshPort, c.running.meshPort]);
  const answers = [await task.askWhole(call), await task.askWhole(call)];
  t.equal(answers.filter(answer => /^HTTP\/1\.1 503 Forged\r\ncontent-length: 0\r\n\r\n$/.test(answer)).length, 1);
  t.equal(asked.length, 1);
  // of this one the two proxies think differently
  const grpc = `POST http://web/ HTTP/1.1\r\nHost: web\r\n${credential}Content-Type: application/grpc\r\n`;
  const alike = await startNode(t, { workloads: [mesh.workload('web', { appPort: forger.port })] });
  node.services.set(byKey([serviceOf('web', [b.running.meshPort, alike.running.meshPort])]));
  t.match(await task.askWhole(`${grpc}Content-Length: 0\r\n\r\n`), /^HTTP\/1\.1 503 Forged/);
  t.equal(asked.length, 2);
  node.services.set(byKey([serviceOf('web', [dead.running.meshPort])]));
  const told = await task.askWhole(call);
  t.match(told, /^HTTP\/1\.1 503 [\s\S]*connection failure$/);
  t.notMatch(told, /refused: /);
  t.equal(dead.records.length, 1);
});

/** An application that dies of `DELETE /`, which is said in `deaths`. */
async function mortal(t: Test, deaths: string[]): Promise<number> {
  const server = createServer(socket => {
    socket.on('error', () => {});
    socket.on('data', bytes => {
      const text = bytes.toString('latin1');
      if (!text.startsWith('DELETE')) socket.write(ok);
      else {
        deaths.push(text);
        server.close();
        socket.destroy();
      }
    });
  });
  t.teardown(() => server.close());
  return portOf(server);
}

t.test('what an application may have seen is asked of no other', async t => {
  const deaths: string[] = [];
  const ports: number[] = [];
  for (let i = 0; i < 3; i++) {
    const workloads = [mesh.workload('web', { appPort: await mortal(t, deaths) })];
    ports.push((await startNode(t, { workloads })).running.meshPort);
  }
  const { task } = await caller(t, ports);
  for (let i = 0; i < 6; i++) t.match(await task.askWhole(call), /^HTTP\/1\.1 200/);
  t.match(await task.askWhole(call.replace('GET', 'DELETE')), /^HTTP\/1\.1 503 [\s\S]*connection termination$/);
  t.equal(deaths.length, 1);
});

t.test('an endpoint that answers with 5xx is left out after five, and comes back after 30 s', async t => {
  const clock = new FakeClock(Date.now());
  const bad = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n');
  });
  const { origin: good } = await patient(t);
  const [b, c] = [
    await startNode(t, { workloads: [mesh.workload('web', { appPort: bad.port })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: good.port })] }),
  ];
  const { node, task } = await caller(t, [b.running.meshPort, c.running.meshPort], clock);
  const failures = async (calls: number) => {
    const before = node.records.filter(record => record.status === 500).length;
    for (let i = 0; i < calls; i++) await task.askWhole(call);
    return node.records.filter(record => record.status === 500).length - before;
  };
  t.equal(await failures(60), 5);
  await clock.advance(40 * secondMs);
  t.equal(await failures(60), 5);
});

t.test('with its only endpoint dead a call gets 503, and works as soon as a new document names another', async t => {
  const { origin } = await patient(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const { node, task } = await caller(t, [await closedPort()]);
  for (let i = 0; i < 10; i++) t.match(await task.askWhole(call), /^HTTP\/1\.1 503 .*connection failure/s);
  node.services.set(byKey([serviceOf('web', [b.running.meshPort])]));
  t.match(await task.askWhole(call), /^HTTP\/1\.1 200/);
  node.services.set(byKey([serviceOf('web', [])]));
  t.match(await task.askWhole(call), /^HTTP\/1\.1 503 .*no healthy upstream/s);
  t.equal(node.records.at(-1)?.flags, 'UH');
});

t.test('an endpoint that accepts and then says nothing is given up after 5 s', async t => {
  const clock = new FakeClock(Date.now());
  const silent = await rawOrigin(t, () => {});
  const { node, task } = await caller(t, [silent.port], clock);
  task.write(call);
  while (silent.seen() === '') await new Promise(resolve => setImmediate(resolve));
  await clock.advance(7 * secondMs);
  t.match(await task.until('connection failure'), /^HTTP\/1\.1 503 /);
  t.equal(node.records[0]?.flags, 'UF');
});

t.test('a node that loses its power without a word costs calls some seconds, and soon nothing', async t => {
  const clock = new FakeClock(Date.now());
  const { origin } = await patient(t);
  const [b, c] = [
    await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] }),
    await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] }),
  ];
  const way = await Relay.open(t, b.running.meshPort);
  const { task } = await caller(t, [way.port, c.running.meshPort], clock);
  for (let i = 0; i < 6; i++) t.match(await task.askWhole(call), /^HTTP\/1\.1 200/);
  t.ok(b.records.length > 0 && c.records.length > 0);
  way.silence();
  let lost = 0;
  /** Is a call sent to where nothing comes from? */
  const isLost = async (waitMs: number) => {
    const answer = task.askWhole(call);
    const before = lost;
    for (let ms = waitMs; ; ms = 7 * secondMs) {
      const now = await Promise.race([answer.then(() => lost), way.triesBeyond(lost)]);
      if (now === lost) break;
      lost = now;
      await clock.advance(ms);
    }
    t.match(await answer, /^HTTP\/1\.1 200/);
    return lost > before;
  };
  const seen: boolean[] = [];
  // on a connection that was there, until nothing has come for 15 s: it is repeated, which a POST would not be
  while (seen.at(-1) !== true) seen.push(await isLost(17 * secondMs));
  while (seen.length < 30) seen.push(await isLost(7 * secondMs));
  t.ok(seen.filter(lost => lost).length <= 6, `${seen}`);
  t.notOk(seen.slice(-10).includes(true));
});

t.test('a task that has closed its side still gets its answer', async t => {
  const { origin } = await patient(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const { task } = await caller(t, [b.running.meshPort]);
  task.socket.end(call + call);
  t.equal((await task.untilClosed()).match(/ok/g)?.length, 2);
});

t.test('a port in use is told in one sentence', async t => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  t.teardown(() => taken.close());
  const address = taken.address();
  const meshPort = typeof address === 'object' && address !== null ? address.port : 0;
  await t.rejects(startNode(t, { meshPort }), { code: 'START_FAILED', message: /cannot listen on 127\.0\.0\.1, port/ });
});

t.test('what was counted is there as plain data', async t => {
  const { origin } = await patient(t);
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  const one = await client(t, node);
  await one.askWhole(get('/'));
  node.policy.set(denyAll());
  await one.askWhole(get('/'));
  const stranger = connect(node.running.meshPort, '127.0.0.1');
  t.teardown(() => stranger.destroy());
  stranger.write('GET / HTTP/1.1\r\n\r\n');
  await once(stranger, 'close');
  const snapshot = node.proxy.snapshot();
  t.match(snapshot, { inboundConnections: 1, failedHandshakes: 1, refusedRequests: 0 });
  t.match(snapshot.series, [
    {
      direction: 'inbound',
      service: 'web.default',
      source: 'edge.local/ns/default/sa/client',
      byStatus: [
        { status: 200, requests: 1 },
        { status: 403, requests: 1 },
      ],
      bytesSent: 21,
    },
  ]);
});

import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import t, { type Test } from 'tap';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { Mesh, RawClient, rawOrigin, serverNameOf, serviceOf, startNode } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const request = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

async function tcp(t: Test, port: number, localAddress = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, localAddress });
  t.teardown(() => socket.destroy());
  socket.on('error', () => {});
  socket.resume();
  await once(socket, 'connect');
  return socket;
}

async function served(t: Test, maxConnections: number) {
  const origin = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('\r\n\r\n') && !text.includes('/hang'))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  });
  const workloads = [mesh.workload('web', { appPort: origin.port })];
  return startNode(t, { workloads, bounds: { maxConnections } });
}

t.test('one address gets no more than half of the mesh port, and another one is served', async t => {
  const node = await served(t, 16);
  const serverName = serverNameOf('web');
  const clients: RawClient[] = [];
  while (clients.length < 8) clients.push(await RawClient.mesh(t, mesh, 'client', node, serverName));
  const next = await tcp(t, node.running.meshPort);
  await once(next, 'close');
  const other = await tcp(t, node.running.meshPort, '127.0.0.2');
  t.equal(node.proxy.snapshot().inboundConnections, 9);
  for (const client of clients) t.match(await client.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 200 /);
  t.notOk(other.destroyed);
  clients[0]?.socket.destroy();
  await until('its place is free', async () => node.proxy.snapshot().inboundConnections === 8);
  t.match(await (await RawClient.mesh(t, mesh, 'client', node, serverName)).ask(request, '\r\n\r\n'), /200/);
});

t.test('of handshakes that do not end the oldest goes', async t => {
  const node = await served(t, 32);
  const first = await tcp(t, node.running.meshPort, '127.0.0.2');
  const closed = once(first, 'close');
  const later: Socket[] = [];
  while (later.length < 8) later.push(await tcp(t, node.running.meshPort, '127.0.0.3'));
  await closed;
  const client = await RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
  t.match(await client.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 200 /);
  t.notOk(later.at(-1)?.destroyed, 'the newest of them stays');
});

t.test('where a port is full, a connection that waits for a request gives way to a new one', async t => {
  const node = await served(t, 2);
  const idle = await tcp(t, node.running.outboundPort);
  const closed = once(idle, 'close');
  const busy = await RawClient.plain(t, node.running.outboundPort);
  t.match(await busy.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 407 /);
  const client = await RawClient.plain(t, node.running.outboundPort);
  await closed;
  t.match(await client.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 407 /);
  t.match(await busy.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 407 /, 'the one that waits longest of its time');
});

t.test('so does one of HTTP/2', async t => {
  const node = await served(t, 2);
  const idle = [await tcp(t, node.running.outboundPort), await tcp(t, node.running.outboundPort)];
  for (const socket of idle) {
    socket.write(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0`);
    // the settings of the proxy: from now on it is HTTP/2
    await once(socket, 'data');
  }
  const closed = once(idle[0] ?? new Socket(), 'close');
  const client = await RawClient.plain(t, node.running.outboundPort);
  t.match(await client.ask(request, '\r\n\r\n'), /^HTTP\/1\.1 407 /);
  await closed;
});

/** A request of a task that goes nowhere, which is as far as it has to come. */
const from = (task: string) => {
  const credential = Buffer.from(`${task}-1:secret-of-${task}`).toString('base64');
  return `GET http://nowhere/ HTTP/1.1\r\nHost: nowhere\r\nProxy-Authorization: Basic ${credential}\r\n\r\n`;
};

t.test('one task gets no more than half of the port for its calls, its local ports among them', async t => {
  const port = await new FreePorts().take();
  const localPorts = [{ port, upstream: 'db.default' }];
  const greedy = { ...mesh.workload('greedy', { upstreams: ['db.default'] }), localPorts };
  const service = serviceOf('db', [1], 'tcp');
  const workloads = [greedy, mesh.workload('modest', {})];
  const node = await startNode(t, { workloads, services: [service], bounds: { maxConnections: 8 } });
  const clients: RawClient[] = [];
  while (clients.length < 4) {
    const client = await RawClient.plain(t, node.running.outboundPort);
    t.match(await client.ask(from('greedy'), '\r\n\r\n'), /^HTTP\/1\.1 404 /);
    clients.push(client);
  }
  const next = await RawClient.plain(t, node.running.outboundPort);
  const answer = await next.ask(from('greedy'), 'on each');
  t.match(answer, /^HTTP\/1\.1 503 [\s\S]*as many connections to the proxy as one task may have/);
  t.match(node.records.at(-1), { status: 503, flags: 'UO', rule: 'too-many-connections', task: 'greedy-1' });
  const beyond = connect({ host: '127.0.0.1', port });
  // a reset, which may come before it knows that it was connected
  beyond.on('error', () => {});
  await new Promise(resolve => beyond.once('close', resolve));
  const other = await RawClient.plain(t, node.running.outboundPort);
  t.match(await other.ask(from('modest'), '\r\n\r\n'), /^HTTP\/1\.1 404 /);
  t.match(await clients[0]?.ask(from('greedy'), '\r\n\r\n'), /^HTTP\/1\.1 404 /, 'what it has it keeps');
  clients[0]?.socket.destroy();
  await until('its place is free', async () => /^HTTP\/1\.1 404 /.test(await next.ask(from('greedy'), '\r\n\r\n')));
});

import { once } from 'node:events';
import t, { type Test } from 'tap';
import { WebSocket, WebSocketServer } from 'ws';
import { Mesh, RawClient, rawOrigin, serverNameOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const credential = `Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}`;

/** A caller's node and a service's node, in front of what listens at `appPort`. */
async function twoNodes(t: Test, appPort: number) {
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort })] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [serviceOf('web', [b.running.meshPort])],
  });
  return { a, b };
}

t.test('a WebSocket works through both proxies, both ways, until one side closes it', async t => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  t.teardown(() => server.close());
  server.on('connection', (socket, request) => {
    socket.send(`${request.headers['x-forwarded-client-cert']}`);
    socket.on('message', (data, binary) => socket.send(data, { binary }));
  });
  const address = server.address();
  const { a, b } = await twoNodes(t, typeof address === 'object' && address !== null ? address.port : 0);
  const options = {
    headers: { 'proxy-authorization': credential },
    // as a client that knows HTTP proxies sends it
    finishRequest: (request: { path: string; end(): void }) => {
      request.path = 'http://web.default.mesh/socket?x=1';
      request.end();
    },
  };
  const socket = new WebSocket(`ws://127.0.0.1:${a.running.outboundPort}/`, options);
  t.match(String((await once(socket, 'message'))[0]), /URI=spiffe:\/\/edge\.local\/ns\/default\/sa\/client$/);
  socket.send('hello');
  t.equal(String((await once(socket, 'message'))[0]), 'hello');
  const large = Buffer.alloc(3_000_000, 'x');
  socket.send(large);
  t.ok(large.equals((await once(socket, 'message'))[0]));
  socket.close(1000);
  t.equal((await once(socket, 'close'))[0], 1000);
  await b.recorded(1);
  await a.recorded(1);
  for (const node of [a, b]) t.match(node.records[0], { status: 101, path: '/socket', verdict: 'allow' });
  t.ok((b.records[0]?.bytesSent ?? 0) > large.length && (b.records[0]?.bytesReceived ?? 0) > large.length);
});

t.test('an application that does not want to switch answers as usual', async t => {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno');
  });
  const { b } = await twoNodes(t, origin.port);
  const client = await RawClient.mesh(t, mesh, 'client', b, serverNameOf('web'));
  const upgrade = 'GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  t.match(await client.askWhole(upgrade), /^HTTP\/1\.1 200/);
  t.match(origin.seen(), /\r\nconnection: upgrade\r\nupgrade: websocket\r\n/);
  t.match(await client.askWhole('GET / HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 200/, 'the connection goes on');
});

t.test('what is sent right behind the heads is not lost, and each side may end first', async t => {
  const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
  const origin = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write(`${switching}first`);
    if (text.endsWith('early')) socket.end('last');
  });
  const { b } = await twoNodes(t, origin.port);
  const client = await RawClient.mesh(t, mesh, 'client', b, serverNameOf('web'));
  client.write('GET / HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly');
  t.match(
    await client.untilClosed(),
    /^HTTP\/1\.1 101 .*\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nfirst.*last$/s,
  );
  t.match(origin.seen(), /\r\n\r\nearly$/);
});

import { once } from 'node:events';
import { createServer } from 'node:http2';
import type { Socket } from 'node:net';
import t, { type Test } from 'tap';
import { flag, frame, get, RawHttp2, type } from '../../fixtures/http2-frames.ts';
import { Mesh, RawClient, rawOrigin, serverNameOf, startNode } from '../../fixtures/proxy-node.ts';

// Messages that one version of HTTP can say and the other cannot: node:http2 throws where a header comes twice that it knows to
// come once, and what it throws must not end the process.

const mesh = new Mesh();
const ended = flag.endStream;
const [internal, protocol] = [2, 1];
const post: typeof get = [...get.slice(1), [':method', 'POST']];

/** A node whose application of HTTP/1.1 gives this answer, once a request that ends in `upTo` is there. */
async function answering(t: Test, answer: string, upTo = '\r\n\r\n') {
  const origin = await rawOrigin(t, (socket: Socket, text: string) => {
    if (text.endsWith(upTo)) socket.write(answer);
  });
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
  return { node, origin, client: await RawHttp2.open(t, mesh, 'client', node) };
}

for (const [what, answer, outcome] of [
  [
    'a hint',
    'HTTP/1.1 103 Early Hints\r\nDate: a\r\nDate: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok',
    'ok',
  ],
  ['a head', 'HTTP/1.1 200 OK\r\nDate: a\r\nDate: b\r\nContent-Length: 2\r\n\r\nok', internal],
  [
    'trailers',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nETag: a\r\nETag: b\r\n\r\n',
    internal,
  ],
  ['a body of 205', 'HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok', ''],
] as const) {
  t.test(`${what} that HTTP/2 cannot say harms no other call`, async t => {
    const { client } = await answering(t, answer);
    for (const stream of [1, 3]) {
      client.headers(stream, get, ended);
      t.equal(await client.outcome(stream), outcome);
    }
    t.notOk(client.closed);
  });
}

t.test('trailers that HTTP/2 cannot say to an application break off their request alone', async t => {
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => response.end('ok'));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  const appPort = typeof address === 'object' && address !== null ? address.port : 0;
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort, protocol: 'http2' })] });
  const ask = async (trailers: string) => {
    const client = await RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
    client.write(`POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${trailers}\r\n`);
    return client.untilAnswers(1);
  };
  t.match(await ask('ETag: a\r\nETag: b\r\n'), /^HTTP\/1\.1 503 /);
  t.match(await ask('a: b\r\n'), /^HTTP\/1\.1 200 /);
});

t.test('trailers behind a length are carried where they were announced', async t => {
  const { client, origin } = await answering(t, 'HTTP/1.1 204 No Content\r\n\r\n', 'sum: 7\r\n\r\n');
  client.headers(1, [...post, ['content-length', '2'], ['trailer', 'sum']], 0);
  client.write(frame(type.data, 0, 1, Buffer.from('ok')));
  client.headers(1, [['sum', '7']], ended);
  t.equal(await client.outcome(1), '');
  t.match(origin.seen(), /^trailer: sum\r\n/m);
  t.match(origin.seen(), /\r\n\r\n2\r\nok\r\n0\r\nsum: 7\r\n\r\n$/);
  t.notMatch(origin.seen(), /content-length/);
});

t.test('others are refused, and no whole request reaches the application', async t => {
  const { client, origin } = await answering(t, 'HTTP/1.1 204 No Content\r\n\r\n', 'ok');
  client.headers(1, [...post, ['content-length', '2']], 0);
  client.write(frame(type.data, 0, 1, Buffer.from('ok')));
  client.headers(1, [['sum', '7']], ended);
  t.equal(await client.outcome(1), protocol);
  client.headers(3, [...post, ['content-length', '2']], 0);
  client.write(frame(type.data, 0, 3, Buffer.from('ok')));
  client.write(frame(type.data, ended, 3));
  t.equal(await client.outcome(3), '');
  t.equal(origin.seen().match(/ok$/gm)?.length, 1);
});

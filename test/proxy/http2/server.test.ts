import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2';
import t, { type Test } from 'tap';
import { systemClock } from '../../../src/device/clock.ts';
import {
  Mesh,
  openSslPeers,
  policyOf,
  rawOrigin,
  serverNameOf,
  spiffe,
  startNode,
  type TestNode,
} from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** A node in front of a Node server of HTTP/1.1, with a client of HTTP/2 over mutual TLS. */
async function through(t: Test, handler: Handler) {
  const server = createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  t.teardown(() => server.closeAllConnections());
  const address = server.address();
  return served(t, typeof address === 'object' && address !== null ? address.port : 0);
}

async function served(t: Test, appPort: number) {
  const node = await startNode(t, { workloads: [mesh.workload('web', { appPort })] });
  return { node, client: await clientOf(t, node) };
}

async function clientOf(t: Test, node: TestNode): Promise<ClientHttp2Session> {
  const client = connect(`https://127.0.0.1:${node.running.meshPort}`, {
    servername: serverNameOf('web'),
    secureContext: mesh.context('client'),
    checkServerIdentity: () => undefined,
  });
  t.teardown(() => client.destroy());
  await once(client, 'connect');
  return client;
}

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly trailers: IncomingHttpHeaders;
  readonly informational: readonly number[];
}

/** Sends a request, with trailers where there are some, and resolves to the whole answer; rejects when it is cut off. */
function ask(
  client: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
  trailers?: OutgoingHttpHeaders,
): Promise<Answer> {
  const all = { ':authority': 'web', ...headers };
  const stream = client.request(all, { endStream: body === undefined, waitForTrailers: trailers !== undefined });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers ?? {}));
  if (body !== undefined) stream.end(body);
  return new Promise((resolve, reject) => {
    let answer: Answer = { headers: {}, body: '', trailers: {}, informational: [] };
    stream.setEncoding('utf8');
    stream.on('headers', informational => {
      answer = { ...answer, informational: [...answer.informational, informational[':status'] ?? 0] };
    });
    stream.on('response', headers => {
      answer = { ...answer, headers };
    });
    stream.on('data', (piece: string) => {
      answer = { ...answer, body: answer.body + piece };
    });
    stream.on('trailers', trailers => {
      answer = { ...answer, trailers };
    });
    stream.on('end', () => {
      if (stream.rstCode === 0) resolve(answer);
    });
    stream.on('error', reject);
    stream.on('close', () => reject(new Error('closed without an end')));
  });
}

t.test('a request over HTTP/2 reaches an application of HTTP/1.1 as one, with who called', async t => {
  const seen: IncomingMessage[] = [];
  const { client, node } = await through(t, (request, response) => {
    seen.push(request);
    response.setHeader('set-cookie', ['a=1', 'b=2']);
    response.setHeader('connection', 'close');
    response.end('hello');
  });
  const { headers, body } = await ask(client, {
    ':path': '/a/../b?c=d',
    cookie: ['x=1', 'y=2'],
    te: 'trailers',
    'x-forwarded-client-cert': 'URI=spiffe://edge.local/ns/default/sa/admin',
  });
  t.equal(body, 'hello');
  t.match(headers, { ':status': 200, 'content-length': '5', 'set-cookie': ['a=1', 'b=2'] });
  t.notOk(headers.connection ?? headers['transfer-encoding']);
  const [request] = seen;
  t.match(request, { method: 'GET', url: '/b?c=d', httpVersion: '1.1' });
  t.match(request?.headers, { host: 'web', cookie: 'x=1; y=2', te: 'trailers' });
  const identity = request?.headers['x-forwarded-client-cert'];
  t.match(identity, new RegExp(`^By=${spiffe('web')};Hash=[0-9a-f]{64};Subject="";URI=${spiffe('client')}$`));
  await node.recorded(1);
  t.match(node.records[0], { method: 'GET', path: '/b', host: 'web', status: 200, bytesSent: 5, flags: '-' });
});

t.test('bodies and trailers pass both ways, with a length or without', async t => {
  const { client } = await through(t, (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { 'content-length': length = '-', 'transfer-encoding': encoding = '-' } = request.headers;
      response.writeHead(200, { trailer: 'sum', framing: `${length} ${encoding}` });
      response.write(Buffer.concat(pieces));
      response.addTrailers({ sum: request.trailers.sum ?? 'none' });
      response.end();
    });
  });
  const big = 'z'.repeat(300_000);
  const post = { ':method': 'POST' };
  const chunked = await ask(client, post, big, { sum: '7' });
  t.equal(chunked.body, big);
  t.match(chunked, { headers: { framing: '- chunked' }, trailers: { sum: '7' } });
  const withLength = await ask(client, { ...post, 'content-length': 3 }, 'abc');
  t.match(withLength, { body: 'abc', headers: { framing: '3 -' }, trailers: { sum: 'none' } });
  t.match(await ask(client, post), { body: '', headers: { framing: '0 -' } });
});

t.test('HEAD, 204, 304 and responses before the final one arrive as they are', async t => {
  const { client } = await through(t, (request, response) => {
    if (request.url === '/hints') {
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      response.end('late');
    } else if (request.url === '/204') response.writeHead(204).end();
    else if (request.url === '/304') response.writeHead(304, { 'content-length': '9' }).end();
    else response.writeHead(200, { 'content-length': '9' }).end();
  });
  t.match(await ask(client, { ':path': '/hints' }), { informational: [103], body: 'late' });
  t.match(await ask(client, { ':method': 'HEAD' }), { headers: { 'content-length': '9' }, body: '' });
  t.match(await ask(client, { ':path': '/204' }), { headers: { ':status': 204 }, body: '' });
  t.match(await ask(client, { ':path': '/304' }), { headers: { ':status': 304, 'content-length': '9' }, body: '' });
});

t.test('100 requests at once are answered, each with its own answer', async t => {
  const { client, node } = await through(t, (request, response) => {
    setImmediate(() => response.end(`for ${request.url}`));
  });
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(client, { ':path': `/${i}` })));
  t.same(
    answers.map(({ body }) => body),
    Array.from({ length: 100 }, (_, i) => `for /${i}`),
  );
  t.equal(node.proxy.snapshot().inboundConnections, 1);
});

t.test('policy is asked for each request of a connection, and for the next one anew after a push', async t => {
  const { client, node } = await through(t, (_, response) => response.end('ok'));
  const statuses = async () =>
    Promise.all(['/a', '/secret', '/b'].map(async path => (await ask(client, { ':path': path })).headers[':status']));
  t.same(await statuses(), [200, 200, 200]);
  node.policy.set(policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/secret'] } }] }] }));
  t.same(await statuses(), [200, 403, 200]);
  node.policy.set(policyOf('deny'));
  t.same(await statuses(), [403, 403, 403]);
});

t.test('an answer before the end of its request arrives, and the rest is not waited for', async t => {
  const { client } = await through(t, (_, response) => {
    response.writeHead(413, { 'content-length': '3' }).end('big');
  });
  const stream = client.request({ ':method': 'POST', ':authority': 'web' });
  stream.on('error', () => {});
  stream.write('x'.repeat(1000));
  const [headers] = await once(stream, 'response');
  t.equal(headers[':status'], 413);
  const [body] = await once(stream, 'data');
  t.equal(String(body), 'big');
  await once(stream, 'close');
  t.equal(stream.rstCode, 0);
  t.match(await ask(client, {}), { headers: { ':status': 413 } }, 'the connection goes on');
});

t.test('a request that is taken back is taken back from the application', async t => {
  const origin = await rawOrigin(t, () => {});
  const { client, node } = await served(t, origin.port);
  const stream = client.request({ ':authority': 'web' });
  stream.on('error', () => {});
  while (!origin.seen().includes('\r\n\r\n')) await new Promise(resolve => setImmediate(resolve));
  const closed = [...origin.connections].map(socket => once(socket, 'close'));
  stream.close(8);
  await Promise.all(closed);
  await node.recorded(1);
  t.match(node.records[0], { flags: 'DC', status: 0 });
});

t.test('an answer that breaks off is seen to break off', async t => {
  for (const framing of ['Content-Length: 100', 'Transfer-Encoding: chunked']) {
    const origin = await rawOrigin(t, socket => {
      socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n4\r\npart\r\n`, () => socket.destroy());
    });
    const { client } = await served(t, origin.port);
    await t.rejects(ask(client, {}), { code: 'ERR_HTTP2_STREAM_ERROR' }, framing);
  }
});

t.test('what HTTP/2 cannot say of an answer is an error, not a guess', async t => {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAge: 1\r\nAge: 2\r\n\r\nok');
  });
  const { client } = await served(t, origin.port);
  await t.rejects(ask(client, {}), { code: 'ERR_HTTP2_STREAM_ERROR' });
});

t.test('on stop a connection takes no more requests, and those under way end as they should', async t => {
  const waiting: ServerResponse[] = [];
  const { client, node } = await through(t, (_, response) => waiting.push(response));
  const answer = ask(client, {});
  while (waiting.length === 0) await new Promise(resolve => setImmediate(resolve));
  const goaway = once(client, 'goaway');
  const stopped = node.stop();
  t.equal((await goaway)[0], 0);
  waiting[0]?.end('in the end');
  t.match(await answer, { body: 'in the end' });
  await stopped;
});

t.test('a peer that may stay no longer is cut off in the midst of it', async t => {
  const origin = await rawOrigin(t, () => {});
  let mayStay = true;
  const peers = { ...openSslPeers(systemClock), mayStay: () => mayStay };
  const node = await startNode(t, { peers, workloads: [mesh.workload('web', { appPort: origin.port })] });
  const client = await clientOf(t, node);
  const answer = ask(client, {});
  while (!origin.seen().includes('\r\n\r\n')) await new Promise(resolve => setImmediate(resolve));
  mayStay = false;
  node.proxy.recheck();
  await t.rejects(answer);
  await node.recorded(1);
  t.equal(node.proxy.snapshot().inboundConnections, 0);
});

import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import t, { type Test } from 'tap';
import { Mesh, policyOf, RawClient, serverNameOf, serviceOf, spiffe, startNode } from '../fixtures/proxy-node.ts';

const mesh = new Mesh();

/** A real Node application that says who called and echoes the body. */
async function application(t: Test) {
  const requests: { method: string; url: string; headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8');
    request.on('data', (piece: string) => {
      body += piece;
    });
    request.on('end', () => {
      requests.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, body });
      response.end(`hello ${body}`);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const address = server.address();
  return { requests, port: typeof address === 'object' && address !== null ? address.port : 0 };
}

function basic(task: string, secret: string): string {
  return `Proxy-Authorization: Basic ${Buffer.from(`${task}:${secret}`).toString('base64')}\r\n`;
}

/** Node A runs the caller, node B the service. */
async function twoNodes(t: Test) {
  const app = await application(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: app.port })] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default', 'gone.default'] })],
    services: [serviceOf('web', [b.running.meshPort])],
  });
  return { app, a, b };
}

const credential = basic('client-1', 'secret-of-client');

t.test('a task calls a service by name through both proxies, and the application learns who called', async t => {
  const { app, a, b } = await twoNodes(t);
  const task = await RawClient.plain(t, a.running.outboundPort);
  const answer = await task.ask(
    `POST http://web.default.mesh/greet?x=1 HTTP/1.1\r\nHost: ignored\r\n${credential}Content-Length: 5\r\n\r\nthere`,
    'hello there',
  );
  t.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  const [request] = app.requests;
  t.match(request, { method: 'POST', url: '/greet?x=1', body: 'there' });
  t.equal(request?.headers.host, 'web.default.mesh');
  const hash = mesh.identity('client').certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  t.equal(
    request?.headers['x-forwarded-client-cert'],
    `By=${spiffe('web')};Hash=${hash};Subject="";URI=${spiffe('client')}`,
  );
  t.notOk(request?.headers['proxy-authorization']);
  await b.recorded(1);
  await a.recorded(1);
  t.match(b.records[0], {
    direction: 'inbound',
    source: 'edge.local/ns/default/sa/client',
    destination: 'edge.local/ns/default/sa/web',
    task: 'web-1',
    method: 'POST',
    host: 'web.default.mesh',
    path: '/greet',
    verdict: 'allow',
    rule: 'no-policy',
    status: 200,
    bytesReceived: 5,
    flags: '-',
  });
  t.match(a.records[0], { direction: 'outbound', task: 'client-1', status: 200, rule: 'declared-upstream' });
  t.equal(a.records[0]?.requestId, b.records[0]?.requestId, 'one request id on the whole way');
});

t.test('a short name means a service of the own namespace', async t => {
  const { a } = await twoNodes(t);
  const task = await RawClient.plain(t, a.running.outboundPort);
  t.match(await task.ask(`GET http://web/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`, 'hello'), /^HTTP\/1.1 200/);
});

t.test("a denied request gets Istio's 403 on a connection that stays", async t => {
  const { app, a, b } = await twoNodes(t);
  b.policy.set(policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/secret*'] } }] }] }));
  const task = await RawClient.plain(t, a.running.outboundPort);
  const denied = await task.ask(
    `GET http://web/secret/1 HTTP/1.1\r\nHost: web\r\n${credential}\r\n`,
    'RBAC: access denied',
  );
  t.match(denied, /^HTTP\/1\.1 403 Forbidden\r\n/);
  t.match(denied, /content-length: 19\r\n/);
  t.match(await task.ask(`GET http://web/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`, 'hello'), /^HTTP\/1.1 200/);
  t.equal(app.requests.length, 1);
  t.match(b.records[0], { verdict: 'deny', rule: 'default/p0#0', status: 403 });
});

t.test('the outbound proxy says what is wrong with a request', async t => {
  const { a } = await twoNodes(t);
  const task = await RawClient.plain(t, a.running.outboundPort);
  const cases: readonly (readonly [string, RegExp])[] = [
    [`GET http://web/ HTTP/1.1\r\nHost: web\r\n\r\n`, /^HTTP\/1.1 407 .*proxy-authenticate: Basic/s],
    [`GET http://web/ HTTP/1.1\r\nHost: web\r\n${basic('client-1', 'wrong')}\r\n`, /^HTTP\/1.1 407 /],
    [`GET http://web/ HTTP/1.1\r\nHost: web\r\n${basic('nobody', 'secret-of-client')}\r\n`, /^HTTP\/1.1 407 /],
    [`GET http://other/ HTTP/1.1\r\nHost: other\r\n${credential}\r\n`, /^HTTP\/1.1 404 .*not among the upstreams/s],
    [`GET http://gone/ HTTP/1.1\r\nHost: gone\r\n${credential}\r\n`, /^HTTP\/1.1 503 .*nothing is known of gone/s],
    [`GET http://example.com/ HTTP/1.1\r\nHost: e\r\n${credential}\r\n`, /^HTTP\/1.1 403 .*not a host of the mesh/s],
    [`GET / HTTP/1.1\r\nHost: web\r\n${credential}\r\n`, /^HTTP\/1.1 400 .*expected a whole address/s],
  ];
  for (const [request, expected] of cases) {
    t.match(await task.askWhole(request), expected);
  }
  // as an agent that has just started
  a.workloads.set(new Map());
  const starting = await task.askWhole(`GET http://web/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`);
  t.match(
    starting,
    /^HTTP\/1.1 503 [\s\S]*retry-after: 1\r\n[\s\S]*knows none of its tasks/,
    'its tasks may ask again',
  );
});

t.test('a client without a certificate, or for a workload that is not here, is refused in the handshake', async t => {
  const { b } = await twoNodes(t);
  await t.rejects(RawClient.mesh(t, mesh, 'client', b, 'nobody.default.mesh'));
  const { connect } = await import('node:tls');
  const socket = connect({
    host: '127.0.0.1',
    port: b.running.meshPort,
    servername: serverNameOf('web'),
    rejectUnauthorized: false,
  });
  const bare = new RawClient(socket);
  await once(socket, 'secureConnect');
  bare.write('GET / HTTP/1.1\r\nHost: web\r\n\r\n');
  t.equal(await bare.untilClosed(), '');
});

t.test('an endpoint that shows another identity than its service has gets no request', async t => {
  const app = await application(t);
  const b = await startNode(t, { workloads: [mesh.workload('web', { appPort: app.port })] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [{ ...serviceOf('web', [b.running.meshPort]), spiffeId: spiffe('bank') }],
  });
  const task = await RawClient.plain(t, a.running.outboundPort);
  const answer = await task.ask(`GET http://web/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`, 'failure');
  t.match(answer, /^HTTP\/1.1 503 /);
  t.equal(app.requests.length, 0);
  await a.recorded(1);
  t.match(a.records[0], { flags: 'UF', status: 503 });
});

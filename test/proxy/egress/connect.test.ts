import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { Mesh, policyOf, RawClient, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const run = promisify(execFile);
const mesh = new Mesh();
const basic = Buffer.from('client-1:secret-of-client').toString('base64');
const credential = `Proxy-Authorization: Basic ${basic}\r\n`;
const established = 'HTTP/1.1 200 Connection established\r\n\r\n';

async function twoNodes(t: Test) {
  const hosts: (string | undefined)[] = [];
  const server = createServer((request, response) => {
    hosts.push(request.headers.host);
    response.end(`${request.method} ${request.url} from ${request.headers['x-forwarded-client-cert']}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  const web = mesh.workload('web', { appPort: (server.address() as AddressInfo).port });
  const b = await startNode(t, { workloads: [web] });
  const client = mesh.workload('client', { upstreams: ['web.default', 'gone.default', 'other.default'] });
  const services = [serviceOf('web', [b.running.meshPort]), serviceOf('other', [b.running.meshPort])];
  const a = await startNode(t, { workloads: [client], services });
  return { a, b, hosts };
}

t.test('behind a CONNECT to an HTTP service each request meets the policy and leaves its record', async t => {
  const { a, b, hosts } = await twoNodes(t);
  const client = await RawClient.plain(t, a.running.outboundPort);
  t.equal(await client.ask(`CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n${credential}\r\n`, '\r\n\r\n'), established);
  t.match(
    await client.askWhole('GET /a?x=1 HTTP/1.1\r\nHost: evil.example\r\n\r\n'),
    /GET \/a\?x=1 from .*sa\/client$/,
  );
  t.match(await client.askWhole('GET /b HTTP/1.1\r\nHost: web\r\n\r\n'), /GET \/b from /);
  t.same(hosts, ['web.default.mesh', 'web.default.mesh'], 'whatever the client wrote');
  b.policy.set(policyOf('allow', { action: 'DENY', rules: [{ to: [{ operation: { paths: ['/b'] } }] }] }));
  t.match(await client.askWhole('GET /b HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 403 /);
  t.match(await client.askWhole('GET /a HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 200 /);
  await a.recorded(4);
  t.match(
    a.records.map(({ path, status, host, task }) => [path, status, host, task]),
    [
      ['/a', 200, 'web.default.mesh', 'client-1'],
      ['/b', 200, 'web.default.mesh', 'client-1'],
      ['/b', 403, 'web.default.mesh', 'client-1'],
      ['/a', 200, 'web.default.mesh', 'client-1'],
    ],
  );
});

t.test('a connection that was opened to one service leads to no other', async t => {
  const { a } = await twoNodes(t);
  const client = await RawClient.plain(t, a.running.outboundPort);
  await client.ask(`CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n${credential}\r\n`, '\r\n\r\n');
  t.match(await client.askWhole('GET http://other/ HTTP/1.1\r\nHost: other\r\n\r\n'), /^HTTP\/1\.1 421 /);
  t.match(await client.askWhole('GET http://web/c HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 200 .*GET \/c/s);
  t.match(await client.askWhole(`CONNECT other:80 HTTP/1.1\r\nHost: o\r\n${credential}\r\n`), /^HTTP\/1\.1 421 /);
});

t.test('what is behind a CONNECT is read strictly, too', async t => {
  const { a } = await twoNodes(t);
  const client = await RawClient.plain(t, a.running.outboundPort);
  client.write(`CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n${credential}\r\n`);
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n');
  t.match(await client.untilClosed(), /^HTTP\/1\.1 200 [^\r]*\r\n\r\nHTTP\/1\.1 400 /);
});

t.test('a CONNECT that cannot be is answered, and the connection goes on where it can', async t => {
  const { a } = await twoNodes(t);
  const cases: readonly (readonly [string, RegExp])[] = [
    [`CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n`, /^HTTP\/1.1 407 .*proxy-authenticate: Basic/s],
    [`CONNECT nobody:80 HTTP/1.1\r\nHost: n\r\n${credential}\r\n`, /^HTTP\/1.1 404 .*not among the upstreams/s],
    [`CONNECT example.com:443 HTTP/1.1\r\nHost: n\r\n${credential}\r\n`, /^HTTP\/1.1 403 .*not a host of the mesh/s],
    [`CONNECT gone:80 HTTP/1.1\r\nHost: n\r\n${credential}\r\n`, /^HTTP\/1.1 503 .*nothing is known of gone/s],
    // clients of HTTP/1.0 send no Host
    [`CONNECT gone:80 HTTP/1.0\r\n${credential}\r\n`, /^HTTP\/1.1 503 .*nothing is known of gone/s],
    ['CONNECT web HTTP/1.1\r\nHost: web\r\n\r\n', /^HTTP\/1.1 400 /],
    ['CONNECT /path HTTP/1.1\r\nHost: web\r\n\r\n', /^HTTP\/1.1 400 /],
    ['CONNECT http://web:80/ HTTP/1.1\r\nHost: web\r\n\r\n', /^HTTP\/1.1 400 /],
    ['GET web:80 HTTP/1.1\r\nHost: web\r\n\r\n', /^HTTP\/1.1 400 /],
    [`CONNECT web:80 HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n${credential}\r\nabc`, /^HTTP\/1.1 400 /],
  ];
  for (const [request, expected] of cases) {
    const client = await RawClient.plain(t, a.running.outboundPort);
    t.match(await client.askWhole(request), expected);
    client.socket.destroy();
  }
  const client = await RawClient.plain(t, a.running.outboundPort);
  await client.askWhole(`CONNECT gone:80 HTTP/1.1\r\nHost: n\r\n${credential}\r\n`);
  t.match(await client.ask(`CONNECT web:80 HTTP/1.1\r\nHost: n\r\n${credential}\r\n`, '\r\n\r\n'), /^HTTP\/1.1 200 /);
});

t.test('nothing may CONNECT into the mesh port', async t => {
  const { b } = await twoNodes(t);
  const client = await RawClient.mesh(t, mesh, 'client', b, '1.web.default.mesh');
  client.write('CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\n');
  t.match(await client.untilClosed(), /^HTTP\/1\.1 400 /);
});

t.test('curl tunnels as it is told to', { skip: !existsSync('/usr/bin/curl') && 'needs curl' }, async t => {
  const { a } = await twoNodes(t);
  const proxy = `http://client-1:secret-of-client@127.0.0.1:${a.running.outboundPort}`;
  const { stdout } = await run('curl', ['-s', '--proxytunnel', '-x', proxy, 'http://web.default.mesh/curl']);
  t.match(stdout, /^GET \/curl from .*sa\/client$/);
});

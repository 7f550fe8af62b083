import { execFile, spawnSync } from 'node:child_process';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { Mesh, RawClient, serverNameOf, serviceOf, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const run = promisify(execFile);
const missing = (tool: string): false | string =>
  spawnSync(tool, ['--version']).status === 0 ? false : `${tool} is not installed`;
const credential = 'client-1:secret-of-client';

/** A real application of HTTP/1.1 or HTTP/2 that says what it was asked in. */
async function application(t: Test, protocol: 'http' | 'http2'): Promise<number> {
  const server =
    protocol === 'http'
      ? createServer((request, response) => response.end(`HTTP/${request.httpVersion} ${request.url}`))
      : createHttp2Server((request, response) => response.end(`HTTP/${request.httpVersion} ${request.url}`));
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function twoNodes(t: Test, protocol: 'http' | 'http2') {
  const web = mesh.workload('web', { appPort: await application(t, protocol), protocol });
  const b = await startNode(t, { workloads: [web] });
  const a = await startNode(t, {
    workloads: [mesh.workload('client', { upstreams: ['web.default'] })],
    services: [{ ...serviceOf('web', [b.running.meshPort]), protocol }],
  });
  return { a, b };
}

for (const protocol of ['http', 'http2'] as const) {
  const spoken = protocol === 'http' ? 'HTTP/1.1' : 'HTTP/2.0';

  t.test(`curl calls a service of ${spoken} over HTTP/2 with mutual TLS`, { skip: missing('curl') }, async t => {
    const { b } = await twoNodes(t, protocol);
    const { keyPem, chainPem } = mesh.identity('client');
    const dir = t.testdir({ 'key.pem': keyPem, 'cert.pem': chainPem });
    const name = serverNameOf('web');
    const { meshPort } = b.running;
    const { stdout } = await run('curl', [
      ...['-sSk', '--http2', '--max-time', '20', '-w', ' in %{http_version}, %{http_code}'],
      ...['--cert', join(dir, 'cert.pem'), '--key', join(dir, 'key.pem')],
      ...['--resolve', `${name}:${meshPort}:127.0.0.1`, `https://${name}:${meshPort}/a?b`],
    ]);
    t.equal(stdout, `${spoken} /a?b in 2, 200`);
  });

  t.test(`curl calls a service of ${spoken} by HTTP_PROXY, in either version`, { skip: missing('curl') }, async t => {
    const { a } = await twoNodes(t, protocol);
    const proxy = `http://${credential}@127.0.0.1:${a.running.outboundPort}`;
    const ask = async (...options: string[]) => {
      const all = ['-sS', '--max-time', '20', '-w', ' in %{http_version}', '-x', proxy, ...options];
      return (await run('curl', [...all, 'http://web.default.mesh/x'])).stdout;
    };
    t.equal(await ask(), `${spoken} /x in 1.1`);
    t.equal(await ask('--proxytunnel', '--http2-prior-knowledge'), `${spoken} /x in 2`);
  });
}

t.test('h2load has thousands of requests answered by way of both proxies', { skip: missing('h2load') }, async t => {
  const { a, b } = await twoNodes(t, 'http2');
  const basic = `Basic ${Buffer.from(credential).toString('base64')}`;
  const { stdout } = await run('h2load', [
    ...[
      '-n',
      '3000',
      '-c',
      '4',
      '-m',
      '25',
      '-H',
      ':authority: web.default.mesh',
      '-H',
      `proxy-authorization: ${basic}`,
    ],
    `http://127.0.0.1:${a.running.outboundPort}/`,
  ]);
  t.match(stdout, /requests: 3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout/);
  await b.recorded(3000);
  t.match(a.proxy.snapshot(), { refusedRequests: 0 });
});

t.test('a port said to speak HTTP/2 that does not is unavailable', async t => {
  const web = mesh.workload('web', { appPort: await application(t, 'http'), protocol: 'http2' });
  const node = await startNode(t, { workloads: [web] });
  const client = await RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
  t.match(await client.askWhole('GET / HTTP/1.1\r\nHost: web\r\n\r\n'), /^HTTP\/1\.1 503 .*connection failure/s);
  await node.recorded(1);
  t.match(node.records[0], { flags: 'UF' });
});

t.test(
  'a GET that met the end of a connection which others had opened is sent again on another, a POST is not',
  async t => {
    const held = new Set<string>();
    const [hold, heldNow] = signalled();
    const server = createHttp2Server();
    server.on('stream', (stream, { ':path': path = '' }) => {
      stream.on('error', () => {});
      if (path === '/hold') hold();
      else if (held.has(path)) stream.respond({ 'x-for': path }, { endStream: true });
      else {
        held.add(path);
        stream.session?.destroy();
      }
    });
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
    t.teardown(() => server.close());
    const address = server.address();
    const appPort = typeof address === 'object' && address !== null ? address.port : 0;
    const node = await startNode(t, { workloads: [mesh.workload('web', { appPort, protocol: 'http2' })] });
    const client = () => RawClient.mesh(t, mesh, 'client', node, serverNameOf('web'));
    const opener = await client();
    opener.write('GET /hold HTTP/1.1\r\nHost: web\r\n\r\n');
    await heldNow;
    const [getter, poster] = [await client(), await client()];
    getter.write('GET /get HTTP/1.1\r\nHost: web\r\n\r\n');
    t.match(await getter.untilAnswers(1), /^HTTP\/1\.1 200 .*x-for: \/get/s);
    t.match(await opener.untilAnswers(1), /^HTTP\/1\.1 503 /);
    poster.write('POST /post HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n');
    t.match(await poster.untilAnswers(1), /^HTTP\/1\.1 503 /);
  },
);

function signalled(): [signal: () => void, signalled: Promise<void>] {
  let signal = () => {};
  const done = new Promise<void>(resolve => {
    signal = resolve;
  });
  return [() => signal(), done];
}

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type SecureContext } from 'node:tls';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/device/clock.ts';
import { verifySocket } from '../../src/identity/contexts.ts';
import type { PortProtocol } from '../../src/model/job.ts';
import type { MtlsMode } from '../../src/model/peer-authentication.ts';
import type { Peers } from '../../src/proxy/peers.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import {
  byTask,
  Mesh,
  type NodeOptions,
  openSslPeers,
  policyOf,
  RawClient,
  rawOrigin,
  startNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const freePorts = new FreePorts();
/** Judges chains as the agent does. */
const peers: Peers = {
  ...openSslPeers(systemClock),
  verify(socket, side) {
    const verified = verifySocket(socket, mesh.authority.authority.bundle, side, { now: Date.now() });
    return verified.ok ? verified.peer : undefined;
  },
};

/** A node that publishes what listens at `appPort`, under `mode`; `published` is there when it returns. */
async function publish(
  t: Test,
  { appPort, protocol, mode, ...options }: NodeOptions & { appPort: number; protocol: PortProtocol; mode?: MtlsMode },
) {
  const port = await freePorts.take();
  const node = await startNode(t, { peers, ...options });
  if (mode !== undefined) node.peerAuthentication.set({ modeOf: (_, asked) => (asked === port ? mode : 'STRICT') });
  const application = { service: 'web.default', host: '127.0.0.1', port: appPort, protocol };
  const workload = { ...mesh.workload('web', {}), published: [{ port, application }] };
  node.workloads.set(byTask([workload]));
  return { node, port, workload };
}

async function website(t: Test) {
  const seen: IncomingHttpHeaders[] = [];
  const server = createServer(({ headers }, response) => {
    seen.push(headers);
    response.end('page');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.closeAllConnections());
  t.teardown(() => server.close());
  return { seen, appPort: (server.address() as AddressInfo).port };
}

/** Tries until the port is there. */
async function plain(t: Test, port: number): Promise<RawClient> {
  for (;;) {
    const socket = connectTcp({ host: '127.0.0.1', port, allowHalfOpen: true });
    const isThere = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    if (!isThere) continue;
    t.teardown(() => socket.destroy());
    return new RawClient(socket);
  }
}

async function secure(t: Test, port: number, secureContext?: SecureContext): Promise<RawClient> {
  (await plain(t, port)).socket.destroy();
  const socket = connectTls({ host: '127.0.0.1', port, secureContext, rejectUnauthorized: false });
  t.teardown(() => socket.destroy());
  await once(socket, 'secureConnect');
  return new RawClient(socket);
}

const get = (lines = '') => `GET /a HTTP/1.1\r\nHost: outside.example\r\n${lines}\r\n`;

t.test('PERMISSIVE takes clients with a certificate and clients without TLS, on one port', async t => {
  const { seen, appPort } = await website(t);
  const { node, port } = await publish(t, { appPort, protocol: 'http' });
  node.peerAuthentication.set({ modeOf: () => 'PERMISSIVE' });
  t.match(await (await plain(t, port)).askWhole(get()), /^HTTP\/1\.1 200 .*page$/s);
  t.match(await (await secure(t, port, mesh.context('client'))).askWhole(get()), /^HTTP\/1\.1 200 .*page$/s);
  const [first, second] = seen;
  t.equal(first?.['x-forwarded-client-cert'], undefined);
  t.equal(first?.['x-forwarded-proto'], 'http');
  t.match(second?.['x-forwarded-client-cert'], /URI=spiffe:\/\/edge\.local\/ns\/default\/sa\/client$/);
  t.equal(second?.['x-forwarded-proto'], 'https');
  await node.recorded(2);
  t.match(node.records, [
    { source: '-', sourceIp: '127.0.0.1', direction: 'inbound', task: 'web-1', status: 200 },
    { source: 'edge.local/ns/default/sa/client', status: 200 },
  ]);
});

t.test('who calls from outside cannot say who it is or whence it comes', async t => {
  const { seen, appPort } = await website(t);
  const { port } = await publish(t, { appPort, protocol: 'http', mode: 'DISABLE' });
  const forged =
    'X-Forwarded-Client-Cert: URI=spiffe://edge.local/ns/default/sa/admin\r\nX-Forwarded-For: 10.1.1.1\r\n' +
    'X-Forwarded-For: 10.2.2.2\r\nX-Forwarded-Proto: https\r\n';
  await (await plain(t, port)).askWhole(get(forged));
  t.equal(seen[0]?.['x-forwarded-client-cert'], undefined);
  t.equal(seen[0]?.['x-forwarded-for'], '10.1.1.1,10.2.2.2,127.0.0.1');
  t.equal(seen[0]?.['x-forwarded-proto'], 'http');
});

t.test('what an application may take for the name of a forwarding header does not pass either', async t => {
  const { seen, appPort } = await website(t);
  const { port } = await publish(t, { appPort, protocol: 'http', mode: 'DISABLE' });
  const spellings = ['X_Forwarded_For', 'x_forwarded-for', 'X.Forwarded.For', 'XForwardedFor', 'x-forwarded_PROTO'];
  const forged = spellings.map(name => `${name}: 10.1.1.1\r\n`).join('');
  await (await plain(t, port)).askWhole(get(`${forged}X-Forwarded-Foreign: kept\r\nX-Forwarded-Port: 8080\r\n`));
  const names = Object.keys(seen[0] ?? {}).filter(name => name.replace(/[^a-z]/g, '').startsWith('xforwarded'));
  t.same(names.sort(), ['x-forwarded-for', 'x-forwarded-foreign', 'x-forwarded-port', 'x-forwarded-proto']);
  t.equal(seen[0]?.['x-forwarded-for'], '127.0.0.1');
});

t.test('STRICT takes nobody without a certificate of the mesh', async t => {
  const { seen, appPort } = await website(t);
  const { node, port } = await publish(t, { appPort, protocol: 'http', mode: 'STRICT' });
  const client = await plain(t, port);
  client.write(get());
  t.equal(await client.untilClosed(), '');
  const nobody = await secure(t, port);
  nobody.write(get());
  t.equal(await nobody.untilClosed(), '');
  const stranger = new Mesh();
  const foreign = await secure(t, port, stranger.context('client'));
  foreign.write(get());
  t.equal(await foreign.untilClosed(), '');
  t.equal(seen.length, 0);
  t.match(await (await secure(t, port, mesh.context('client'))).askWhole(get()), /^HTTP\/1\.1 200 /);
  t.ok(node.proxy.snapshot().failedHandshakes >= 3);
});

t.test('a connection without TLS that was there before STRICT is served no more', async t => {
  const { seen, appPort } = await website(t);
  const { node, port } = await publish(t, { appPort, protocol: 'http', mode: 'PERMISSIVE' });
  const client = await plain(t, port);
  t.match(await client.askWhole(get()), /^HTTP\/1\.1 200 /);
  node.peerAuthentication.set({ modeOf: () => 'STRICT' });
  t.match(await client.askWhole(get()), /^HTTP\/1\.1 403 [\s\S]*mutual TLS/);
  t.equal(seen.length, 1);
  await node.recorded(2);
  t.match(node.records[1], { status: 403, rule: 'peer-authentication', verdict: 'deny' });
  node.peerAuthentication.set({ modeOf: () => 'PERMISSIVE' });
  t.match(await client.askWhole(get()), /^HTTP\/1\.1 200 /);
});

t.test('DISABLE takes what is no TLS, and hands TLS of a TCP port to the application as it is', async t => {
  const origin = await rawOrigin(t, (socket, text) => socket.write(`${text.charCodeAt(0)}`));
  const { port } = await publish(t, { appPort: origin.port, protocol: 'tcp', mode: 'DISABLE' });
  t.equal(await (await plain(t, port)).ask('\u0016\u0003\u0001', '22'), '22');
  const { appPort } = await website(t);
  const web = await publish(t, { appPort, protocol: 'http', mode: 'DISABLE' });
  const client = await plain(t, web.port);
  client.write('\u0016\u0003\u0001\u0000\u0005hello\r\n\r\n');
  t.match(await client.untilClosed(), /^HTTP\/1\.1 400 /);
});

t.test('AuthorizationPolicy holds for clients without an identity, by address and by the published port', async t => {
  const { appPort } = await website(t);
  const { node, port } = await publish(t, { appPort, protocol: 'http', mode: 'PERMISSIVE' });
  const status = async (...specs: object[]) => {
    node.policy.set(policyOf('allow', ...specs));
    return (await (await plain(t, port)).askWhole(get('X-Forwarded-For: 10.9.9.9\r\n'))).slice(9, 12);
  };
  const rule = (source: object, operation?: object) => ({
    rules: [{ from: [{ source }], ...(operation && { to: [{ operation }] }) }],
  });
  t.equal(await status(rule({ principals: ['*'] })), '403');
  t.equal(await status(rule({ ipBlocks: ['127.0.0.0/8'] })), '200');
  t.equal(await status(rule({ ipBlocks: ['10.0.0.0/8'] })), '403');
  t.equal(await status(rule({ remoteIpBlocks: ['10.0.0.0/8'] })), '403', 'X-Forwarded-For is not believed');
  t.equal(await status(rule({ remoteIpBlocks: ['127.0.0.1'] })), '200');
  t.equal(await status(rule({ notPrincipals: ['x'] }, { ports: [`${port}`] })), '200');
  t.equal(await status(rule({ notPrincipals: ['x'] }, { ports: [`${appPort}`] })), '403');
  t.equal(await status({ action: 'DENY', ...rule({ notPrincipals: ['*'] }) }), '403');
});

t.test('TCP from outside meets the policy for connections', async t => {
  const origin = await rawOrigin(t, (socket, text) => socket.write(text.toUpperCase()));
  const { node, port } = await publish(t, { appPort: origin.port, protocol: 'tcp', mode: 'PERMISSIVE' });
  t.equal(await (await plain(t, port)).ask('a', 'A'), 'A');
  t.equal(await (await secure(t, port, mesh.context('client'))).ask('b', 'B'), 'B');
  node.policy.set(policyOf('allow', { rules: [{ from: [{ source: { principals: ['*/sa/client'] } }] }] }));
  t.equal(await (await secure(t, port, mesh.context('client'))).ask('c', 'C'), 'C');
  const denied = await plain(t, port);
  denied.write('d');
  t.equal(await denied.untilClosed(), '');
  await node.recorded(1);
  t.ok(node.records.some(({ verdict, source, method }) => verdict === 'deny' && source === '-' && method === '-'));
  t.notMatch(origin.seen(), /d/);
});

t.test('behind a permissive port a server that speaks first is heard after a second', async t => {
  const server = createTcpServer(socket => socket.end('220 ready')).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const clock = new FakeClock();
  const { appPort, ...options } = {
    appPort: (server.address() as AddressInfo).port,
    protocol: 'tcp' as const,
    clock,
  };
  const { port } = await publish(t, { appPort, ...options, mode: 'PERMISSIVE' });
  const { sleepers } = clock;
  const client = await plain(t, port);
  await clock.untilSleeping(sleepers + 1);
  await clock.advance(2_000);
  t.equal(await client.untilClosed(), '220 ready');
});

t.test('a task that is not ready answers 503, and one that has gone gives its port back', async t => {
  const { appPort } = await website(t);
  const { node, port, workload } = await publish(t, { appPort, protocol: 'http', mode: 'DISABLE' });
  const client = await plain(t, port);
  t.match(await client.askWhole(get()), /^HTTP\/1\.1 200 /);
  node.workloads.set(byTask([{ ...workload, published: [{ port }] }]));
  t.match(await client.askWhole(get()), /^HTTP\/1\.1 503 .*not ready$/s);
  node.workloads.set(byTask([]));
  await client.untilClosed();
  const refused = connectTcp(port, '127.0.0.1');
  t.match((await once(refused, 'connect').catch((error: unknown) => [error]))[0], { code: 'ECONNREFUSED' });
});

t.test('revocation ends the connections of a published port', async t => {
  const { appPort } = await website(t);
  let trusted = true;
  const judge = { ...peers, mayStay: () => trusted };
  const { node, port } = await publish(t, { appPort, protocol: 'http', mode: 'STRICT', peers: judge });
  const client = await secure(t, port, mesh.context('client'));
  await client.askWhole(get());
  trusted = false;
  node.proxy.recheck();
  await client.untilClosed();
  t.pass('closed');
});

t.test(
  'curl comes in by HTTP/1.1 and HTTP/2, with a certificate and without, and resumes',
  {
    skip: !existsSync('/usr/bin/curl') && 'needs curl',
  },
  async t => {
    const { appPort } = await website(t);
    const { port } = await publish(t, { appPort, protocol: 'http', mode: 'PERMISSIVE' });
    await plain(t, port);
    const folder = mkdtempSync(join(tmpdir(), 'published-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const { keyPem, chainPem } = mesh.identity('client');
    writeFileSync(join(folder, 'key.pem'), keyPem);
    writeFileSync(join(folder, 'cert.pem'), chainPem);
    const identity = ['--insecure', '--key', join(folder, 'key.pem'), '--cert', join(folder, 'cert.pem')];
    const curl = async (...args: string[]) =>
      (await promisify(execFile)('curl', ['-s', '-w', ' %{http_version}', ...args])).stdout;
    t.equal(await curl(`http://127.0.0.1:${port}/`), 'page 1.1');
    t.equal(await curl('--http2-prior-knowledge', `http://127.0.0.1:${port}/`), 'page 2');
    t.equal(await curl('--http1.1', ...identity, `https://127.0.0.1:${port}/`), 'page 1.1');
    t.equal(await curl(...identity, `https://127.0.0.1:${port}/`), 'page 2');
  },
);

t.test('a TLS session is resumed', async t => {
  const { appPort } = await website(t);
  const { port } = await publish(t, { appPort, protocol: 'http', mode: 'STRICT' });
  const first = await secure(t, port, mesh.context('client'));
  const ticket = once(first.socket, 'session');
  await first.askWhole(get());
  const [session] = await ticket;
  const again = connectTls({
    host: '127.0.0.1',
    port,
    secureContext: mesh.context('client'),
    session,
    rejectUnauthorized: false,
  });
  t.teardown(() => again.destroy());
  await once(again, 'secureConnect');
  t.ok(again.isSessionReused());
  t.match(await new RawClient(again).askWhole(get()), /^HTTP\/1\.1 200 /);
});

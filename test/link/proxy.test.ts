import { once } from 'node:events';
import { createServer } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import t, { type Test } from 'tap';
import type { MesoliteError } from '../../src/base/errors.ts';
import { clientTlsOptions, serverTlsOptions } from '../../src/identity/contexts.ts';
import { tlsDial } from '../../src/link/dial.ts';
import { readProxyRules } from '../../src/link/proxy-rules.ts';
import { openTunnel } from '../../src/link/tunnel.ts';
import { wsDial } from '../../src/link/ws-dial.ts';
import { topics } from '../../src/model/topics.ts';
import { startConnectProxy } from '../fixtures/connect-proxy.ts';
import { makeFleet, nextMessage, startBroker, startLink, startWebSocketPort } from '../fixtures/wire.ts';

const fleet = makeFleet();
const { bundle } = fleet.authority.authority;

function partsThrough(httpsProxy: string, noProxy = '') {
  const tls = () => clientTlsOptions(fleet.nodes.a, bundle, 'tls');
  return { tls, verifyServer: () => undefined, proxyFor: readProxyRules({ httpsProxy, noProxy }) };
}

t.test('both dials go through the proxy, which resolves the name', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const wssPort = await startWebSocketPort(t, fleet, broker);
  const proxy = await startConnectProxy(t);
  const parts = partsThrough(`http://me:p%40ss@127.0.0.1:${proxy.port}`);
  for (const dial of [
    tlsDial(parts, { host: 'master.test', port }),
    wsDial(parts, { host: 'master.test', port: wssPort }),
  ]) {
    const { link, stop } = await startLink(t, fleet, port, 'a', { parts: { dial } });
    const heard = nextMessage({ subscribe: (filter, handler) => broker.listen(filter, handler) }, topics.allUp);
    await link.publish(topics.up('a', 'hb'), Buffer.from('x'), { qos: 1 });
    t.equal((await heard).text, 'x');
    await stop();
  }
  const credentials = Buffer.from('me:p@ss').toString('base64');
  t.strictSame(
    proxy.heads,
    [port, wssPort].map(
      to =>
        `CONNECT master.test:${to} HTTP/1.1\r\nhost: master.test:${to}\r\nproxy-authorization: Basic ${credentials}\r\n\r\n`,
    ),
  );
});

t.test('a server behind a proxy that is not the master is UNTRUSTED', async t => {
  const { port } = await startBroker(t, fleet);
  const proxy = await startConnectProxy(t);
  const other = makeFleet();
  const tls = () => clientTlsOptions(other.nodes.a, other.authority.authority.bundle, 'tls');
  const parts = { ...partsThrough(`http://127.0.0.1:${proxy.port}`), tls };
  const { signal } = new AbortController();
  await t.rejects(tlsDial(parts, { host: 'master.test', port })(signal), { code: 'UNTRUSTED' });
});

t.test('what a proxy refuses is said without the credentials, and its answer is bounded', async t => {
  const { signal } = new AbortController();
  const answers: readonly (readonly [string, RegExp])[] = [
    ['HTTP/1.1 407 Proxy Authentication Required\r\n\r\n', /it wants other credentials \(407\)/],
    ['HTTP/1.1 403 Forbidden\r\n\r\n', /it answers 403/],
    ['SSH-2.0-x\r\n\r\n', /it does not speak HTTP/],
    [`HTTP/1.1 200 OK\r\nx: ${'y'.repeat(9000)}`, /more than 8192 bytes of head/],
    ['HTTP/1.1 200 OK\r\n\r\nhello', /says more than it was asked/],
    ['HTTP/1.1 200', /the proxy closed the connection/],
  ];
  for (const [answer, reason] of answers) {
    const { port } = await startConnectProxy(t, answer);
    const proxy = { host: '127.0.0.1', port, isTls: false, authorization: 'Basic c2VjcmV0' };
    const error: MesoliteError = await openTunnel(proxy, { host: 'master.test', port: 8883 }, signal).then(
      () => t.fail('opened'),
      cause => cause,
    );
    t.match(error, { code: 'UNAVAILABLE', message: reason });
    t.match(error.message, `master.test:8883 through the proxy 127.0.0.1:${port}`);
    t.notMatch(JSON.stringify([error.message, String(error.cause)]), /c2VjcmV0/);
  }
});

t.test('a proxy that says nothing is given up when the attempt is', async t => {
  const server = createServer(socket => socket.on('error', () => {})).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const attempt = new AbortController();
  const connected = once(server, 'connection');
  const tunnel = openTunnel(
    { host: '127.0.0.1', port, isTls: false },
    { host: 'master.test', port: 1 },
    attempt.signal,
  );
  await connected;
  attempt.abort(new Error('long enough'));
  await t.rejects(tunnel, { code: 'UNAVAILABLE', message: /long enough/ });
});

t.test('a proxy that is not reached over TLS by its name is not spoken to', async t => {
  let heard = 0;
  const server = createTlsServer(serverTlsOptions(fleet.master, bundle, 'caller'), socket => {
    socket.on('data', () => heard++);
    socket.on('error', () => {});
  });
  server.on('tlsClientError', () => {});
  const port = await listen(t, server);
  const { signal } = new AbortController();
  const proxy = { host: '127.0.0.1', port, isTls: true };
  await t.rejects(openTunnel(proxy, { host: 'master.test', port: 1 }, signal), { code: 'UNAVAILABLE' });
  t.equal(heard, 0);
});

async function listen(t: Test, server: ReturnType<typeof createTlsServer>): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

t.test('the environment says which hosts are reached through the proxy', async t => {
  const proxyFor = readProxyRules({
    httpsProxy: 'proxy.test:3128',
    noProxy:
      'intra.test, .sub.test,*.star.test,10.0.0.0/8,192.0.2.7,fd00::/8,port.test:8883,[2001:db8::1]:8443,,bad/entry',
  });
  const through = (host: string, port = 8883) => proxyFor(host, port) !== undefined;
  t.match(proxyFor('master.example', 8883), { host: 'proxy.test', port: 3128, isTls: false });
  const direct = ['intra.test', 'a.intra.test', 'INTRA.test.', 'a.sub.test', 'x.star.test', '10.1.2.3', '192.0.2.7'];
  for (const host of [...direct, 'fd00::5', 'port.test', 'localhost', '127.0.0.1', '::1']) t.notOk(through(host), host);
  for (const host of ['sub.test', 'star.test', 'notintra.test', '11.0.0.1', '2001:db8::1']) t.ok(through(host), host);
  t.ok(through('port.test', 443), 'another port');
  t.notOk(through('2001:db8::1', 8443));
  t.equal(readProxyRules({ httpsProxy: 'http://p', noProxy: '*' })('master.example', 1), undefined);
  t.equal(readProxyRules({})('master.example', 1), undefined);
  t.match(readProxyRules({ httpsProxy: 'https://u@p.test' })('m.example', 1), {
    port: 443,
    isTls: true,
    authorization: `Basic ${Buffer.from('u:').toString('base64')}`,
  });
});

t.test('a proxy that cannot be read is refused without a word of its password', async t => {
  for (const httpsProxy of [
    'socks5://me:secret@p:1',
    'http://me:secret@',
    'http://me:secret@p:99999',
    'http://me:%zz@p',
  ]) {
    try {
      readProxyRules({ httpsProxy });
      t.fail(httpsProxy);
    } catch (error) {
      t.match(error, { code: 'INVALID_INPUT', message: /^HTTPS_PROXY: expected/ });
      t.notMatch(String(error), /secret/);
    }
  }
});

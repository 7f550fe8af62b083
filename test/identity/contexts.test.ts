import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import t, { type Test } from 'tap';
import {
  clientTlsOptions,
  joinTlsOptions,
  presentedChain,
  secureContextOptions,
  serverTlsOptions,
  verifyPinnedSocket,
  verifySocket,
} from '../../src/identity/contexts.ts';
import { readTrustBundle, type TrustBundle, type Verification } from '../../src/identity/verify.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

// OpenSSL judges by the system's clock, so these certificates are of today
const now = Date.now();
const moment = { now };
const { authority, state, node, server } = makeTestAuthority(now);
const bundle = readTrustBundle('test.mesolite', [state.rootPem]);
const stranger = makeTestAuthority(now);
const alice = node('alice');
const bob = node('bob');

interface Meeting {
  /** What the client makes of the server before it sends a byte; undefined when the handshake failed. */
  readonly byClient: Verification | undefined;
  /** What the server makes of the client; undefined when it saw none. */
  readonly byServer: Verification | undefined;
  readonly session: Buffer | undefined;
  readonly resumed: boolean;
}

/** A real TLS server on a free port, closed with the test. */
async function listen(t: Test, options: tls.TlsOptions): Promise<tls.Server> {
  const listener = tls.createServer(options);
  listener.on('tlsClientError', () => {});
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  t.teardown(() => new Promise(resolve => listener.close(resolve)));
  return listener;
}

/** One handshake and one line from the server. */
async function meet(
  listener: tls.Server,
  options: tls.ConnectionOptions,
  judge: (socket: tls.TLSSocket) => Verification,
  believed: TrustBundle = bundle,
): Promise<Meeting> {
  let byServer: Verification | undefined;
  let session: Buffer | undefined;
  let byClient: Verification | undefined;
  let resumed = false;
  const serve = (socket: tls.TLSSocket) => {
    byServer = verifySocket(socket, believed, 'client', moment);
    socket.on('error', () => {});
    socket.end('hello');
  };
  listener.once('secureConnection', serve);
  const { port } = listener.address() as AddressInfo;
  const socket = tls.connect({ ...options, host: '127.0.0.1', port });
  socket.on('session', ticket => {
    session = ticket;
  });
  socket.on('secureConnect', () => {
    byClient = judge(socket);
    resumed = socket.isSessionReused();
  });
  socket.on('error', () => {});
  socket.resume();
  await new Promise(resolve => socket.once('close', resolve));
  listener.removeListener('secureConnection', serve);
  return { byClient, byServer, session, resumed };
}

const byBundle = (socket: tls.TLSSocket) => verifySocket(socket, bundle, 'server', moment);

t.test('two peers know each other by SPIFFE id, whoever judges the chain', async t => {
  for (const judge of ['tls', 'caller'] as const) {
    const listener = await listen(t, serverTlsOptions(bob, bundle, judge));
    const meeting = await meet(listener, clientTlsOptions(alice, bundle, judge), byBundle);
    t.match(meeting.byClient, { ok: true, peer: { uri: 'spiffe://test.mesolite/node/bob' } }, judge);
    t.match(meeting.byServer, { ok: true, peer: { uri: 'spiffe://test.mesolite/node/alice' } }, judge);
  }
});

t.test('who asks twice gets the same answer', async t => {
  const listener = await listen(t, serverTlsOptions(bob, bundle, 'caller'));
  const meeting = await meet(listener, clientTlsOptions(alice, bundle, 'tls'), socket => {
    t.equal(presentedChain(socket).length, 2);
    t.match(byBundle(socket), { ok: true });
    return byBundle(socket);
  });
  t.match(meeting.byClient, { ok: true, peer: { id: { node: 'bob' } } });
});

t.test('OpenSSL turns a stranger away before either side speaks', async t => {
  const listener = await listen(t, serverTlsOptions(bob, bundle, 'tls'));
  const theirs = clientTlsOptions(stranger.node('alice'), stranger.authority.bundle, 'caller');
  t.equal((await meet(listener, theirs, byBundle)).byServer, undefined, 'at the server');
  const rogue = await listen(t, serverTlsOptions(stranger.node('bob'), stranger.authority.bundle, 'caller'));
  t.equal((await meet(rogue, clientTlsOptions(alice, bundle, 'tls'), byBundle)).byClient, undefined, 'at the client');
});

t.test('where the caller judges, a stranger is seen and refused', async t => {
  const listener = await listen(t, serverTlsOptions(bob, bundle, 'caller'));
  const theirs = clientTlsOptions(stranger.node('alice'), stranger.authority.bundle, 'caller');
  const meeting = await meet(listener, theirs, byBundle);
  t.match(meeting.byServer, { ok: false, reason: /does not end in a trusted root/ });
  const nobody = await meet(listener, joinTlsOptions(), byBundle);
  t.match(
    nobody.byServer,
    { ok: false, reason: /no certificate was presented/ },
    'and so is one without a certificate',
  );
});

t.test('TLS 1.3 is the least unless an older peer must be served', async t => {
  const old = { ...clientTlsOptions(alice, bundle, 'tls', { minVersion: 'TLSv1.2' }), maxVersion: 'TLSv1.2' } as const;
  const strict = await listen(t, serverTlsOptions(bob, bundle, 'tls'));
  t.equal((await meet(strict, old, byBundle)).byClient, undefined);
  const lenient = await listen(t, serverTlsOptions(bob, bundle, 'tls', { minVersion: 'TLSv1.2' }));
  t.match((await meet(lenient, old, byBundle)).byClient, { ok: true });
});

t.test('a resumed session is judged again, by the leaf and the authorities at hand', async t => {
  const listener = await listen(t, serverTlsOptions(bob, bundle, 'caller'));
  const options = clientTlsOptions(alice, bundle, 'tls');
  const { session } = await meet(listener, options, byBundle);
  const again = session === undefined ? options : { ...options, session };
  const meeting = await meet(
    listener,
    again,
    byBundle,
    readTrustBundle('test.mesolite', [state.rootPem], bob.chainPem),
  );
  t.ok(meeting.resumed);
  t.match(
    meeting.byServer,
    { ok: true, peer: { id: { node: 'alice' } } },
    'TLS keeps the leaf alone; bob knows its authority',
  );
  const elsewhere = await meet(listener, again, byBundle, stranger.authority.bundle);
  t.ok(elsewhere.resumed);
  t.match(elsewhere.byServer, { ok: false }, 'resuming is not being trusted');
});

t.test('one who joins trusts the pinned master, and nobody else, before a byte is sent', async t => {
  const pinned = (socket: tls.TLSSocket) => verifyPinnedSocket(socket, authority.rootSha256, moment);
  const master = await listen(t, serverTlsOptions(server(), bundle, 'caller'));
  t.match((await meet(master, joinTlsOptions(), pinned)).byClient, {
    ok: true,
    peer: { id: { kind: 'master', trustDomain: 'test.mesolite' } },
  });
  const rogue = await listen(t, serverTlsOptions(stranger.server(), stranger.authority.bundle, 'caller'));
  t.match((await meet(rogue, joinTlsOptions(), pinned)).byClient, { ok: false, reason: /no chain to the root/ });
  const chainPem = bob.chainPem + authority.rootPem;
  const node = await listen(t, serverTlsOptions({ ...bob, chainPem }, bundle, 'caller'));
  t.match((await meet(node, joinTlsOptions(), pinned)).byClient, { ok: false, reason: /not the master/ });
});

t.test('a server for browsers and curl asks nobody for a certificate', async t => {
  const listener = await listen(t, secureContextOptions(server(['127.0.0.1'])));
  const options = { ca: authority.rootPem };
  const meeting = await meet(listener, options, socket => {
    t.equal(presentedChain(socket).length, 3, 'leaf, issuing authority and root');
    return byBundle(socket);
  });
  t.match(meeting.byClient, { ok: true, peer: { id: { kind: 'master' } } }, 'by name and by SPIFFE id');
  t.match(meeting.byServer, { ok: false, reason: /no certificate/ });
});

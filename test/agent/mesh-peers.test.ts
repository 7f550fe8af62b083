import { once } from 'node:events';
import { connect } from 'node:tls';
import t, { type Test } from 'tap';
import { JudgedChains, maxJudgedChains } from '../../src/agent/judged-chains.ts';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';
import { readCertificates } from '../../src/identity/certificate.ts';
import { verifyChain } from '../../src/identity/verify.ts';
import { type MeshJudge, openJudge } from '../fixtures/mesh-judge.ts';
import {
  Mesh,
  RawClient,
  rawOrigin,
  serverNameOf,
  serviceOf,
  spiffe,
  startNode,
  type TestNode,
} from '../fixtures/proxy-node.ts';

const mesh = new Mesh();
const ask = 'GET / HTTP/1.1\r\nHost: web\r\n\r\n';
const credential = `Proxy-Authorization: Basic ${Buffer.from('client-1:secret-of-client').toString('base64')}\r\n`;
const askThroughProxy = `GET http://web.default.mesh/ HTTP/1.1\r\nHost: web\r\n${credential}\r\n`;

interface Served {
  readonly node: TestNode;
  readonly judge: MeshJudge;
  /** Connections that the proxy has to the application. */
  readonly connections: () => number;
}

/** A node that serves `web` and judges who calls. */
async function serve(t: Test): Promise<Served> {
  const judge = await openJudge(t, mesh);
  const app = await rawOrigin(t, (socket, text) => {
    if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  const workloads = [mesh.workload('web', { appPort: app.port })];
  return {
    node: await startNode(t, { workloads, peers: judge.peers }),
    judge,
    connections: () => app.connections.size,
  };
}

const call = (t: Test, { node }: Served, as = 'client') => RawClient.mesh(t, mesh, as, node, serverNameOf('web'));

async function isServed(t: Test, served: Served, as?: string): Promise<boolean> {
  const client = await call(t, served, as);
  client.write(ask);
  return client.until('ok').then(
    () => true,
    () => false,
  );
}

/** A node with a task that calls `web` on the other one, and judges whom it calls. */
async function callFrom(t: Test, { node }: Served) {
  const judge = await openJudge(t, mesh, t.testdir({}));
  const workload = mesh.workload('client', { upstreams: ['web.default'] });
  const caller = await startNode(t, {
    workloads: [workload],
    services: [serviceOf('web', [node.running.meshPort])],
    peers: judge.peers,
  });
  const task = await RawClient.plain(t, caller.running.outboundPort);
  const status = async () => {
    task.received = '';
    return Number((await task.askWhole(askThroughProxy)).split(' ')[1]);
  };
  return { judge, caller, workload, status };
}

t.test(
  'one whose certificate holds is served, one without a certificate is not, and the application hears nothing',
  async t => {
    const served = await serve(t);
    t.ok(await isServed(t, served));
    const before = served.connections();
    const bare = connect({
      host: '127.0.0.1',
      port: served.node.running.meshPort,
      servername: serverNameOf('web'),
      rejectUnauthorized: false,
    });
    const client = new RawClient(bare);
    await once(bare, 'secureConnect');
    client.write(ask);
    t.equal(await client.untilClosed(), '');
    t.equal(served.connections(), before);
  },
);

t.test('one of another root is refused', async t => {
  const served = await serve(t);
  const { keyPem, chainPem } = new Mesh().identity('client');
  const socket = connect({
    host: '127.0.0.1',
    port: served.node.running.meshPort,
    servername: serverNameOf('web'),
    rejectUnauthorized: false,
    key: keyPem,
    cert: chainPem,
  });
  const client = new RawClient(socket);
  client.write(ask);
  t.equal(await client.untilClosed(), '');
});

t.test('one who is no workload is refused, however good its certificate: a node, a broker, the master', async t => {
  const served = await serve(t);
  const { authority } = mesh;
  const others = { node: authority.node('pi-1'), broker: authority.broker(), master: authority.server() };
  for (const [kind, { keyPem: key, chainPem: cert }] of Object.entries(others)) {
    const to = { host: '127.0.0.1', port: served.node.running.meshPort, servername: serverNameOf('web') };
    const client = new RawClient(connect({ ...to, rejectUnauthorized: false, key, cert }));
    client.write(ask);
    t.equal(await client.untilClosed(), '', kind);
  }
  t.equal(served.connections(), 0);
  t.ok(await isServed(t, served), 'a workload is served');
});

t.test('a revocation closes what the revoked has open, and no one else', async t => {
  const served = await serve(t);
  const { node, judge } = served;
  const revoked = await call(t, served, 'thief');
  const other = await call(t, served, 'client');
  await revoked.ask(ask, 'ok');
  await other.ask(ask, 'ok');
  await judge.revoke(mesh.identity('thief').serial);
  node.proxy.recheck();
  await revoked.untilClosed();
  t.match(await other.ask(ask, 'ok'), /200 OK/);
  t.notOk(await isServed(t, served, 'thief'), 'nor may it come again');
});

t.test('one who was let in before is refused once expired, and once the authorities are others', async t => {
  const served = await serve(t);
  const { judge } = served;
  t.ok(await isServed(t, served));
  t.ok(await isServed(t, served), 'known again');
  judge.clock.setNow(Date.now() + 25 * hourMs);
  t.notOk(await isServed(t, served), 'expired');
  judge.clock.setNow(Date.now());
  t.ok(await isServed(t, served));
  await judge.trustAlone(new Mesh().authority.authority);
  t.notOk(await isServed(t, served), 'of a root that is trusted no longer');
});

t.test('a revoked authority refuses those that it let in before', async t => {
  const served = await serve(t);
  const { judge } = served;
  t.ok(await isServed(t, served));
  const [, issuer] = readCertificates(mesh.identity('client').chainPem, 'chain');
  await judge.revoke(issuer?.serialNumber ?? '');
  t.notOk(await isServed(t, served));
  await judge.revoke();
  t.ok(await isServed(t, served));
});

t.test('the chain unused longest is forgotten, and none is used for another purpose', t => {
  const chains = new JudgedChains();
  const { authority } = mesh.authority;
  const [leaf, ...others] = readCertificates(mesh.identity('client').chainPem, 'chain');
  const verified = leaf && verifyChain([leaf, ...others], authority.bundle, 'client', { now: Date.now() });
  if (verified?.ok !== true) throw new Error('the chain is good');
  const { peer, path } = verified;
  const find = (key: string) => chains.find(key, authority.bundle, { now: Date.now() });
  find('none');
  const remember = (key: string) => chains.remember(key, { peer, chain: path, path, bundle: authority.bundle });
  for (let i = 0; i < maxJudgedChains; i++) remember(`client ${i}`);
  t.ok(find('client 0'), 'used');
  remember('client new');
  t.notOk(find('client 1'), 'unused longest');
  t.ok(find('client 0'));
  t.notOk(find('server 0'));
  t.end();
});

t.test('a resumed session is judged anew', async t => {
  const served = await serve(t);
  const { node, judge } = served;
  const options = {
    host: '127.0.0.1',
    port: node.running.meshPort,
    servername: serverNameOf('web'),
    secureContext: mesh.context('lender'),
    checkServerIdentity: () => undefined,
  };
  const first = connect(options);
  const sessions = once(first, 'session');
  const client = new RawClient(first);
  await once(first, 'secureConnect');
  await client.ask(ask, 'ok');
  const [session]: Buffer[] = await sessions;
  await judge.revoke(mesh.identity('lender').serial);
  const second = connect({ ...options, ...(session && { session }) });
  const again = new RawClient(second);
  await once(second, 'secureConnect');
  t.ok(second.isSessionReused());
  again.write(ask);
  t.equal(await again.untilClosed(), '');
});

t.test('a revocation closes the connections that were pooled to the revoked', async t => {
  const served = await serve(t);
  const { judge, caller, status } = await callFrom(t, served);
  t.equal(await status(), 200);
  t.equal(caller.proxy.snapshot().upstreamConnections, 1);
  await judge.revoke(mesh.identity('web').serial);
  caller.proxy.recheck();
  t.equal(await status(), 503);
});

t.test('an expired peer is refused, save by a node that has no link to the master, inside its grace', async t => {
  const served = await serve(t);
  const { judge } = served;
  judge.clock.setNow(Date.now() + 25 * hourMs);
  t.notOk(await isServed(t, served), 'the master would have renewed it');
  judge.link.isUp = false;
  t.ok(await isServed(t, served));
  judge.clock.setNow(Date.now() + dayMs + 6 * dayMs);
  t.ok(await isServed(t, served));
  judge.clock.setNow(Date.now() + dayMs + 7 * dayMs + minuteMs);
  t.notOk(await isServed(t, served));
});

t.test('no grace forgives a revocation', async t => {
  const served = await serve(t);
  const { judge } = served;
  await judge.revoke(mesh.identity('fired').serial);
  judge.link.isUp = false;
  t.notOk(await isServed(t, served, 'fired'));
});

t.test('when the link is back, who was let in by grace must go, and who was not may stay', async t => {
  const served = await serve(t);
  const { judge, node } = served;
  const early = await call(t, served);
  await early.ask(ask, 'ok');
  judge.link.isUp = false;
  judge.clock.setNow(Date.now() + 25 * hourMs);
  const graced = await call(t, served);
  await graced.ask(ask, 'ok');
  node.proxy.recheck();
  t.match(await graced.ask(ask, 'ok'), /200 OK/, 'as long as there is no link it may stay');
  judge.link.isUp = true;
  node.proxy.recheck();
  await graced.untilClosed();
  t.match(await early.ask(ask, 'ok'), /200 OK/, 'expiry alone closes nothing');
});

t.test('before the time is known nobody is let in; a node without a master waits a minute for it', async t => {
  const served = await serve(t);
  const { judge } = served;
  judge.clock.known = false;
  t.notOk(await isServed(t, served));
  judge.link.isUp = false;
  t.notOk(await isServed(t, served));
  await judge.clock.advance(minuteMs);
  t.ok(await isServed(t, served));
  judge.link.isUp = true;
  t.notOk(await isServed(t, served), 'a master is there and will tell it');
});

t.test('a clock that is known to be behind forgives "not yet valid"', async t => {
  const served = await serve(t);
  const { judge } = served;
  judge.clock.setNow(Date.now() - 30 * dayMs);
  t.notOk(await isServed(t, served));
  judge.clock.known = false;
  judge.link.isUp = false;
  await judge.clock.advance(minuteMs);
  t.ok(await isServed(t, served));
});

t.test('a rotation drops no connection: what is open stays, what is opened next shows the new certificate', async t => {
  const served = await serve(t);
  const { workload, status, caller } = await callFrom(t, served);
  t.equal(await status(), 200);
  const renewed = mesh.authority.workload(spiffe('client'));
  workload.tls.set(mesh.contextOf(renewed));
  t.equal(await status(), 200);
  t.equal(caller.proxy.snapshot().upstreamConnections, 1, 'on the same connection');
  await served.judge.revoke(mesh.identity('client').serial);
  served.node.proxy.recheck();
  t.equal(await status(), 200, 'the old certificate is revoked, the new one is shown');
});

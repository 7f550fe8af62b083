import { once } from 'node:events';
import { createServer } from 'node:tls';
import t, { type Test } from 'tap';
import { Cell } from '../../../src/base/cell.ts';
import { silentLog } from '../../../src/base/log.ts';
import { systemClock } from '../../../src/device/clock.ts';
import { Deadlines } from '../../../src/proxy/deadlines.ts';
import type { ConnectionEvents } from '../../../src/proxy/upstream/connection.ts';
import { MeshConnector } from '../../../src/proxy/upstream/mesh-connector.ts';
import type { ByteStream } from '../../../src/proxy/wire/byte-stream.ts';
import { Loans } from '../../../src/proxy/wire/mux/loans.ts';
import { MuxStream } from '../../../src/proxy/wire/mux/stream.ts';
import { type ConnectionSettings, defaultCluster } from '../../../src/traffic/cluster.ts';
import { Mesh, openSslPeers, rawOrigin, serverNameOf, spiffe, startNode } from '../../fixtures/proxy-node.ts';

const mesh = new Mesh();
const request = 'GET / HTTP/1.1\r\nHost: web\r\n\r\n';

/** One connection with what became of it. */
class Connection implements ConnectionEvents {
  retired = false;
  joins = false;
  /** Undefined when it never came to be. */
  readonly connected: Promise<ByteStream | undefined>;
  readonly answered: Promise<void>;
  readonly closed: Promise<void>;
  #connect: (stream: ByteStream | undefined) => void = () => {};
  #answer = () => {};
  #close = () => {};

  constructor() {
    this.connected = new Promise(resolve => {
      this.#connect = resolve;
    });
    this.answered = new Promise(resolve => {
      this.#answer = resolve;
    });
    this.closed = new Promise(resolve => {
      this.#close = resolve;
    });
  }

  onConnected(stream: ByteStream, joins = false): void {
    this.joins = joins;
    this.#connect(stream);
  }
  onBytes(length: number, bytes: Buffer): boolean {
    if (bytes.toString('latin1', 0, length).endsWith('ok')) this.#answer();
    return true;
  }
  onRetired(): void {
    this.retired = true;
  }
  onClosed(): void {
    this.#connect(undefined);
    this.#close();
  }
}

/** A connector to a port where `web` may be served, and how often its peer was verified. */
function connectorTo(t: Test, port: number, spiffeId = spiffe('web'), connections: Partial<ConnectionSettings> = {}) {
  const judge = { ...openSslPeers(systemClock), verified: 0, distrusted: false };
  const peers = {
    ...judge,
    verify(...args: Parameters<typeof judge.verify>) {
      judge.verified++;
      return judge.verify(...args);
    },
    mayStay: () => !judge.distrusted,
  };
  const tls = new Cell(mesh.context('client'));
  const deadlines = new Deadlines(systemClock);
  const bounds = { connections: { ...defaultCluster.connections, ...connections } };
  const loans = new Loans();
  const parts = { log: silentLog, peers, deadlines, loans, readBuffer: Buffer.alloc(65_536), tls, bounds };
  const address = { address: '127.0.0.1', port, serverName: serverNameOf('web'), spiffeId, protocol: 'http' } as const;
  const connector = new MeshConnector(parts, address);
  t.teardown(() => {
    judge.distrusted = true;
    connector.recheck();
    connector.close();
  });
  const connect = (fresh = false) => {
    const connection = new Connection();
    connector.connect(connection, fresh);
    return connection;
  };
  return { connector, connect, judge, tls, bounds };
}

async function webNode(t: Test) {
  const origin = await rawOrigin(t, socket => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  });
  return startNode(t, { workloads: [mesh.workload('web', { appPort: origin.port })] });
}

/** A peer that speaks HTTP/1.1 alone; it answers everything. */
async function olderPeer(t: Test): Promise<number> {
  const { keyPem, chainPem } = mesh.identity('web');
  const ca = mesh.authority.authority.rootPem;
  const server = createServer({ key: keyPem, cert: chainPem, ca, requestCert: true, ALPNProtocols: ['http/1.1'] });
  server.on('secureConnection', socket => {
    socket.on('error', () => {});
    socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    t.teardown(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function ask({ connected, answered }: Connection): Promise<ByteStream | undefined> {
  const stream = await connected;
  stream?.write(request, 'latin1');
  await answered;
  return stream;
}

t.test('connections to an agent are streams of one TLS connection', async t => {
  const node = await webNode(t);
  const { connect, judge } = connectorTo(t, node.running.meshPort);
  const first = [connect(), connect(), connect()];
  for (const stream of await Promise.all(first.map(ask))) t.ok(stream instanceof MuxStream);
  const later = connect();
  t.ok((await ask(later)) instanceof MuxStream);
  t.equal(judge.verified, 1);
  t.equal(node.proxy.snapshot().inboundConnections, 1);
});

t.test(
  'a stream over a TLS connection that was there before may be stale, and who asks for a fresh one gets another',
  async t => {
    const node = await webNode(t);
    const { connect } = connectorTo(t, node.running.meshPort);
    const [first, later, fresh] = [connect(), connect(), connect(true)];
    for (const connection of [first, later, fresh]) await ask(connection);
    const joining = connect();
    await ask(joining);
    const another = connect(true);
    await ask(another);
    t.same(
      [first, later, fresh, joining, another].map(({ joins }) => joins),
      [false, false, false, true, false],
    );
    t.equal(node.proxy.snapshot().inboundConnections, 2);
  },
);

t.test('beyond 128 streams another TLS connection is opened', async t => {
  const node = await webNode(t);
  const { connect, judge } = connectorTo(t, node.running.meshPort);
  const streams = await Promise.all(Array.from({ length: 130 }, () => connect().connected));
  t.ok(streams.every(stream => stream instanceof MuxStream));
  t.equal(node.proxy.snapshot().inboundConnections, 2);
  t.equal(judge.verified, 2);
});

t.test('a connection carries no more streams than it may, and TCP watches over it where that is asked for', async t => {
  const node = await webNode(t);
  const { connect } = connectorTo(t, node.running.meshPort, spiffe('web'), { maxStreams: 2, keepaliveMs: 30_000 });
  const streams = await Promise.all(Array.from({ length: 5 }, () => connect().connected));
  t.ok(streams.every(stream => stream instanceof MuxStream));
  t.equal(node.proxy.snapshot().inboundConnections, 3);
});

t.test('to a peer that speaks HTTP/1.1 alone each connection is one of its own', async t => {
  const { connect } = connectorTo(t, await olderPeer(t));
  const connections = [connect(), connect(), connect()];
  const streams = await Promise.all(connections.map(ask));
  t.equal(new Set(streams).size, 3);
  for (const stream of streams) t.notOk(stream instanceof MuxStream || stream === undefined);
  const fourth = connect();
  t.notOk((await ask(fourth)) instanceof MuxStream);
  (await fourth.connected)?.destroy();
  await fourth.closed;
});

t.test('where a DestinationRule says so, each connection is one of its own, and speaks HTTP/1.1', async t => {
  const node = await webNode(t);
  const { connect, bounds } = connectorTo(t, node.running.meshPort);
  const connections = { ...defaultCluster.connections, multiplexed: false };
  t.ok((await ask(connect())) instanceof MuxStream);
  bounds.connections = connections;
  const [one, other] = await Promise.all([ask(connect()), ask(connect())]);
  t.notOk(one instanceof MuxStream || other instanceof MuxStream || one === other);
  bounds.connections = defaultCluster.connections;
  t.ok((await ask(connect())) instanceof MuxStream);
});

t.test('a later connection resumes the TLS session, and both sides still know who the other is', async t => {
  const node = await webNode(t);
  const { connect, connector, judge } = connectorTo(t, node.running.meshPort);
  for (let i = 0; i < 4; i++) {
    const connection = connect();
    await ask(connection);
    judge.distrusted = true;
    connector.recheck();
    await connection.closed;
    judge.distrusted = false;
  }
  t.equal(judge.verified, 1);
  t.same([...new Set(node.records.map(record => record.source))], ['edge.local/ns/default/sa/client']);
});

t.test('a peer with another identity is not accepted, however often it is asked', async t => {
  const node = await webNode(t);
  const { connect } = connectorTo(t, node.running.meshPort, spiffe('bank'));
  for (let i = 0; i < 3; i++) t.equal(await connect().connected, undefined);
});

t.test('with a new certificate the old connection is drained', async t => {
  const node = await webNode(t);
  const { connect, judge, tls } = connectorTo(t, node.running.meshPort);
  const before = connect();
  const stream = await ask(before);
  tls.set(mesh.context('client'));
  t.ok(before.retired);
  const after = connect();
  await ask(after);
  t.equal(judge.verified, 2);
  t.notOk(after.retired);
  stream?.destroy();
  while (node.proxy.snapshot().inboundConnections > 1) await new Promise(resolve => setImmediate(resolve));
});

t.test('whoever gives up waiting is told so, and the last one ends the handshake', async t => {
  const silent = await rawOrigin(t, () => {});
  const { connector } = connectorTo(t, silent.port);
  const [one, other] = [new Connection(), new Connection()];
  const [givenUp, alsoGivenUp] = [connector.connect(one, false), connector.connect(other, false)];
  while (silent.seen() === '') await new Promise(resolve => setImmediate(resolve));
  givenUp.destroy();
  await one.closed;
  t.equal(silent.connections.size, 1);
  alsoGivenUp.destroy();
  await other.closed;
  while (silent.connections.size > 0) await new Promise(resolve => setImmediate(resolve));
});

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import t from 'tap';
import { Cell } from '../../src/base/cell.ts';
import { dayMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { Broker } from '../../src/broker/broker.ts';
import { serverTlsOptions, verifySocket } from '../../src/identity/contexts.ts';
import { topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import {
  connectPacket,
  makeFleet,
  nextMessage,
  RawClient,
  startBroker,
  startLink,
  trustDomain,
} from '../fixtures/wire.ts';

const fleet = makeFleet();
const { bundle } = fleet.authority.authority;
/** A certificate of the node `a` that ended ten days ago, and a broker that forgives that. */
const expired = fleet.authority.node('a', Date.now() - 40 * dayMs);
const forgiving = (socket: TLSSocket) => {
  const moment = { now: Date.now(), expiredToleranceMs: 30 * dayMs };
  const verified = verifySocket(socket, bundle, 'client', moment);
  return verified.ok ? verified.peer : undefined;
};
const bytes = (text: string) => Buffer.from(text);

function makeBroker(port: number, host?: string): Broker {
  const tls = new Cell(serverTlsOptions(fleet.master, bundle, 'caller'));
  const parts = { readPeer: () => undefined, knowsToken: () => false, tls, clock: new FakeClock(), log: silentLog };
  return new Broker(parts, { trustDomain, port, ...(host === undefined ? {} : { host }) });
}

t.test('a port in use, and a host that is not here, are said in a sentence', async t => {
  const taken = createServer().listen(0, '127.0.0.1');
  t.teardown(() => taken.close());
  await once(taken, 'listening');
  const address = taken.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const { signal } = new AbortController();
  await t.rejects(makeBroker(port, '127.0.0.1').start(signal), {
    code: 'START_FAILED',
    message: `port ${port} on 127.0.0.1 is in use: stop the program that listens there, or set another port for the broker`,
  });
  await t.rejects(makeBroker(0, '192.0.2.1').start(signal), { code: 'START_FAILED', message: /not an address/ });
});

t.test('without a host it listens on all addresses', async t => {
  const broker = makeBroker(0);
  t.throws(() => broker.address, { code: 'UNAVAILABLE' });
  const controller = new AbortController();
  await broker.start(controller.signal);
  const client = await RawClient.connect(t, fleet, broker.address.port);
  controller.abort();
  await broker.closed;
  await client.closed();
  await t.rejects(broker.publish(topics.policy, bytes('x'), { qos: 0, retain: false }), { code: 'UNAVAILABLE' });
});

t.test('the last will of a killed node is told, that of one who says goodbye is not', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const deaths: string[] = [];
  const told = new Promise<void>(resolve => {
    broker.listen(topics.allUp, (topic, payload) => {
      deaths.push(`${topic} ${Buffer.from(payload)}`);
      resolve();
    });
  });
  const dying = async (who: 'a' | 'b') => {
    const client = await RawClient.connect(t, fleet, port, fleet.nodes[who]);
    t.equal(await client.login(who, { will: { topic: topics.up(who, 'death'), payload: bytes('7'), qos: 1 } }), 0);
    return client;
  };
  const polite = await dying('a');
  polite.send({ cmd: 'disconnect' });
  await polite.closed();
  const killed = await dying('b');
  killed.socket.destroy();
  await told;
  t.strictSame(deaths, [`${topics.up('b', 'death')} 7`]);
});

t.test('stopping the broker tells no last wills', async t => {
  const { broker, port, stop } = await startBroker(t, fleet);
  broker.listen(topics.allUp, topic => t.fail(`heard ${topic}`));
  const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await client.login('a', { will: { topic: topics.up('a', 'death'), payload: bytes('7'), qos: 1 } });
  await stop();
  await client.closed();
});

t.test('a second connection with the same identity takes over, and is an event with both addresses', async t => {
  const { broker, port, events } = await startBroker(t, fleet);
  const first = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  t.equal(await first.login('a'), 0);
  const second = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  t.equal(await second.login('a'), 0);
  await first.closed();
  t.strictSame(await second.subscribe(topics.allDown('a')), [1]);
  await broker.publish(topics.down('a', 'ask'), bytes('still there?'), { qos: 0, retain: false });
  t.match(await second.next(), { cmd: 'publish', topic: topics.down('a', 'ask') });
  const identity = { role: 'node', node: 'a' };
  const address = '127.0.0.1';
  t.strictSame(events, [
    { kind: 'connected', identity, address },
    { kind: 'takeover', identity, address, previousAddress: address },
  ]);
  t.match(broker.stats(), { takeovers: 1, connected: { node: 1 }, connections: 1 });
});

t.test(
  'a node whose certificate has expired may renew it: what else it says is acknowledged and heard by nobody',
  async t => {
    const { broker, port } = await startBroker(t, fleet, {}, { readPeer: forgiving });
    const heard: string[] = [];
    const asked = new Promise<void>(resolve => {
      broker.listen(topics.allUp, topic => {
        heard.push(topic);
        if (topic === topics.up('a', 'csr')) resolve();
      });
    });
    const client = await RawClient.connect(t, fleet, port, expired);
    t.equal(await client.login('a', { will: { topic: topics.up('a', 'death'), payload: bytes('7'), qos: 1 } }), 0);
    const wanted = [topics.down('a', 'task'), topics.down('a', 'ack'), topics.allDown('a'), topics.policy];
    t.strictSame(await client.subscribe(...wanted), [128, 1, 128, 128]);
    for (const [i, kind] of (['birth', 'task', 'csr'] as const).entries()) {
      client.publish(topics.up('a', kind), kind, { qos: 1, messageId: i + 1 });
      t.match(await client.next(), { cmd: 'puback', messageId: i + 1 });
    }
    await asked;
    await broker.publish(topics.down('a', 'ack'), bytes('a new one'), { qos: 0, retain: false });
    t.match(await client.next(), { cmd: 'publish', topic: topics.down('a', 'ack') });
    t.match(broker.stats().connected, { node: 0, renewal: 1 });
    client.publish(topics.up('b', 'csr'), 'x');
    await client.closed();
    t.strictSame(heard, [topics.up('a', 'csr')], 'nor is its last will told');
  },
);

t.test('while a node is here with a certificate that holds, an expired one of its name is refused', async t => {
  const { port } = await startBroker(t, fleet, {}, { readPeer: forgiving });
  const honest = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  t.equal(await honest.login('a'), 0);
  const copy = await RawClient.connect(t, fleet, port, expired);
  t.equal(await copy.login('a'), 2);
  honest.send({ cmd: 'pingreq' });
  t.match(await honest.next(), { cmd: 'pingresp' });
});

t.test('a connection does not outlive its certificate, unless its node has moved to another', async t => {
  const { broker, port, clock } = await startBroker(t, fleet);
  const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  const master = await RawClient.connect(t, fleet, port, fleet.master);
  await client.login('a');
  await master.login('m');
  broker.endExpired();
  t.match(broker.stats().connected, { node: 1, master: 1 });
  clock.setNow(Date.now() + 31 * dayMs);
  broker.endExpired();
  await client.closed();
  t.match(broker.stats(), { connected: { master: 1 }, refused: { expired: 1 } });
});

t.test('a joiner and a node with the same client id do not disturb each other', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const node = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  const joiner = await RawClient.connect(t, fleet, port);
  t.equal(await node.login('a'), 0);
  t.equal(await joiner.login('a', { username: 'tok' }), 0);
  t.match(broker.stats(), { takeovers: 0, connected: { node: 1, join: 1, master: 0 } });
});

t.test('who was turned away is counted by reason and answered with a return code', async t => {
  const { broker, port } = await startBroker(t, fleet, { limits: { maxJoiners: 1 } });
  const login = async (clientId: string, fields: object, identity = true) => {
    const client = await RawClient.connect(t, fleet, port, identity ? fleet.nodes.a : undefined);
    const code = await client.login(clientId, fields);
    return { client, code };
  };
  t.equal((await login('b', {})).code, 2, "another's client id");
  t.equal((await login('a', { clean: false })).code, 5, 'a session that outlives the connection');
  t.equal((await login('n1', {}, false)).code, 5, 'a stranger');
  t.equal((await login('n1', { username: 'guess' }, false)).code, 4, 'a token that is not known');
  t.equal((await login('n1', { username: 'tok' }, false)).code, 0);
  t.equal((await login('n2', { username: 'tok' }, false)).code, 3, 'too many joiners');
  const refused = { 'client-id': 1, session: 1, 'no-identity': 1, 'unknown-token': 1, capacity: 1 };
  t.match(broker.stats().refused, refused);
});

t.test(
  'a source that tries token after token is refused without a look-up, and nobody with a certificate is',
  async t => {
    const asked: string[] = [];
    const knowsToken = (id: string) => {
      asked.push(id);
      return id === 'tok';
    };
    const limits = { joinsPerSource: { perSecond: 1, burst: 3 } };
    const { broker, port, clock } = await startBroker(t, fleet, { limits }, { knowsToken });
    const codes: (number | undefined)[] = [];
    for (const username of ['g1', 'g2', 'g3', 'g4', 'tok']) {
      codes.push(await (await RawClient.connect(t, fleet, port)).login('n', { username }));
    }
    t.strictSame(codes, [4, 4, 4, 3, 3]);
    t.strictSame(asked, ['g1', 'g2', 'g3']);
    t.equal(broker.stats().refused.rate, 2);
    t.equal(await (await RawClient.connect(t, fleet, port, fleet.nodes.a)).login('a'), 0);
    await clock.advance(1_000);
    t.equal(
      await (await RawClient.connect(t, fleet, port)).login('n', { username: 'tok' }),
      0,
      'an honest board asks again',
    );
  },
);

t.test('a certificate of a stranger is no identity', async t => {
  const { port } = await startBroker(t, fleet);
  const stranger = makeFleet();
  const client = await RawClient.connect(t, { ...fleet, authority: stranger.authority }, port).catch(() => undefined);
  t.ok(client, 'TLS itself lets everybody in');
  const { connect } = await import('node:tls');
  const { keyPem: key, chainPem: cert } = stranger.nodes.a;
  const socket = connect({ host: '127.0.0.1', port, key, cert, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const raw = new RawClient(socket);
  t.equal(await raw.login('a'), 5);
  socket.destroy();
});

t.test('new certificates are shown to the next connection, and disturb no old one', async t => {
  const { broker, port, tls } = await startBroker(t, fleet);
  const before = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await before.login('a');
  const renewed = fleet.authority.server();
  tls.set(serverTlsOptions(renewed, bundle, 'caller'));
  const after = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  t.equal(after.socket.getPeerX509Certificate()?.serialNumber, renewed.serial);
  t.equal(await after.login('b'), 0);
  t.equal(broker.stats().connections, 2);
  before.send({ cmd: 'pingreq' });
  t.match(await before.next(), { cmd: 'pingresp' });
});

t.test('within the process: topics that are none of ours and payloads too large are refused', async t => {
  const { broker } = await startBroker(t, fleet);
  const options = { qos: 1, retain: true } as const;
  await t.rejects(broker.publish('elsewhere', bytes('x'), options), { code: 'INVALID_INPUT' });
  await t.rejects(broker.publish(topics.policy, Buffer.alloc(5 << 20), options), { code: 'TOO_LARGE' });
  t.throws(() => broker.listen('#', () => {}), { code: 'INVALID_INPUT' });
});

t.test('retained messages above their bound are refused to the publisher', async t => {
  const { broker } = await startBroker(t, fleet, { limits: { maxRetainedMessages: 1 } });
  const options = { qos: 1, retain: true } as const;
  await broker.publish(topics.policy, bytes('x'), options);
  await t.rejects(broker.publish(topics.manifest, bytes('x'), options), { code: 'QUEUE_FULL' });
  t.match(broker.stats(), { retainedMessages: 1, retainedBytes: 1, published: 1 });
});

t.test('a client that goes silent is cut off after its keep-alive, with its will told', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const { link } = await startLink(t, fleet, port, 'master');
  const death = nextMessage(link, topics.allUp);
  const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  client.send(
    connectPacket('a', { keepalive: 1, will: { topic: topics.up('a', 'death'), payload: bytes('1'), qos: 1 } }),
  );
  await client.closed();
  t.equal((await death).topic, topics.up('a', 'death'));
  t.equal(broker.stats().refused['keepalive-timeout'], 1);
});

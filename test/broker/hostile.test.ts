import mqttPacket from 'mqtt-packet';
import t from 'tap';
import { topics } from '../../src/model/topics.ts';
import { connectPacket, makeFleet, nextMessage, RawClient, startBroker, startLink } from '../fixtures/wire.ts';

const fleet = makeFleet();
const header = (type: number, length: number) => {
  const bytes = [type << 4];
  for (let rest = length; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
};

t.test('before CONNECT no packet may be large: its length alone is enough to end it', async t => {
  const { broker, port } = await startBroker(t, fleet);
  for (const identity of [undefined, fleet.nodes.a]) {
    const client = await RawClient.connect(t, fleet, port, identity);
    client.send(header(1, 50_000_000));
    await client.closed();
  }
  const whole = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  whole.send(connectPacket('a', { username: 'x'.repeat(10_000) }));
  t.equal(await whole.next(), undefined, 'a whole one in one piece is not answered either');
  t.match(broker.stats(), { refused: { 'too-large': 3 }, connected: { node: 0 } });
});

t.test('after CONNECT a packet may be as large as its role needs', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const heard = new Promise<number>(resolve => broker.listen(topics.allUp, (_, payload) => resolve(payload.length)));
  const node = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await node.login('a');
  node.publish(topics.up('a', 'birth'), Buffer.alloc(256 * 1024));
  t.equal(await heard, 256 * 1024);
  node.send(header(3, 300_000));
  await node.closed();
  const joiner = await RawClient.connect(t, fleet, port);
  await joiner.login('n1', { username: 'tok' });
  joiner.send(header(3, 100_000));
  await joiner.closed();
  t.equal(broker.stats().refused['too-large'], 2);
});

t.test('a CONNECT that never becomes whole is cut off in time', async t => {
  const { broker, port, clock } = await startBroker(t, fleet);
  const silent = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  const half = await RawClient.connect(t, fleet, port);
  half.send(mqttPacket.generate(connectPacket('n1', { username: 'tok' })).subarray(0, 10));
  const honest = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  t.equal(await honest.login('b'), 0);
  await clock.advance(5_000);
  await Promise.all([silent.closed(), half.closed()]);
  honest.send({ cmd: 'pingreq' });
  t.match(await honest.next(), { cmd: 'pingresp' });
  t.match(broker.stats(), { refused: { 'connect-timeout': 2 }, connections: 1 });
});

t.test('a packet sent in crumbs is cut off before they cost more than they hold', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const client = await RawClient.connect(t, fleet, port);
  client.socket.setNoDelay(true);
  const crumbs = mqttPacket.generate(connectPacket('n1', { username: 'x'.repeat(8000) }));
  for (const byte of crumbs) {
    if (client.socket.destroyed) break;
    // each write becomes a TLS record of its own
    await new Promise<void>(resolve => client.socket.write(Uint8Array.of(byte), () => resolve()));
  }
  await client.closed();
  t.equal(broker.stats().refused['too-large'], 1);
});

t.test('malformed MQTT ends its own connection and no other', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const neighbour = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await neighbour.login('b');
  const garbage: readonly (readonly [string, Uint8Array])[] = [
    ['an unknown type', Uint8Array.of(0x00, 0x00)],
    ['a QoS of 3', Uint8Array.of(0x36, 0x04, 0, 1, 97, 0)],
    ['a topic longer than the packet', Uint8Array.of(0x30, 0x03, 0xff, 0xff, 97)],
    ['a subscription without filters', Uint8Array.of(0x82, 0x02, 0, 1)],
    ['a second CONNECT', mqttPacket.generate(connectPacket('a'))],
    ['a length without end', Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0xff, 0xff)],
  ];
  for (const [what, packet] of garbage) {
    const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
    await client.login('a');
    client.send(packet);
    await client.closed();
    t.pass(what);
  }
  const early = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  early.publish(topics.up('a', 'hb'), 'x');
  await early.closed();
  const http = await RawClient.connect(t, fleet, port);
  http.send(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'));
  await http.closed();
  neighbour.send({ cmd: 'pingreq' });
  t.match(await neighbour.next(), { cmd: 'pingresp' });
  t.equal(broker.stats().connections, 1);
});

t.test('a message to a topic that is not allowed ends the connection, and nobody hears it', async t => {
  const { broker, port } = await startBroker(t, fleet);
  broker.listen('mesolite/v1/#', topic => t.fail(`heard ${topic}`));
  const offences: readonly (readonly [string, object])[] = [
    [topics.up('b', 'hb'), {}],
    [topics.policy, { retain: true }],
    [topics.down('a', 'task'), { qos: 1, messageId: 1 }],
    [topics.up('a', 'hb'), { retain: true }],
    [topics.up('a', 'hb'), { qos: 2, messageId: 1 }],
    ['$SYS/x', {}],
    ['elsewhere', {}],
  ];
  for (const [topic, fields] of offences) {
    const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
    await client.login('a');
    client.publish(topic, 'x', fields);
    t.equal(await client.next(), undefined, `${topic} ${JSON.stringify(fields)}`);
  }
  t.equal(broker.stats().refused.publish, offences.length);
});

t.test('a subscription that is not allowed is refused in the answer; the others of the packet hold', async t => {
  const { broker, port } = await startBroker(t, fleet, { limits: { maxSubscriptions: 3 } });
  const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await client.login('a');
  const filters = [topics.allDown('a'), topics.allDown('b'), `$share/g/${topics.policy}`, '#', topics.policy];
  t.strictSame(await client.subscribe(...filters), [1, 128, 128, 128, 1]);
  await broker.publish(topics.down('b', 'task'), Buffer.from('secret'), { qos: 1, retain: false });
  await broker.publish(topics.down('a', 'task'), Buffer.from('mine'), { qos: 1, retain: false });
  t.match(await client.next(), { cmd: 'publish', topic: topics.down('a', 'task') });
  t.strictSame(await client.subscribe(topics.manifest, topics.service('x.y')), [1, 128], 'at most three');
  client.send({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: [topics.manifest] });
  t.match(await client.next(), { cmd: 'unsuback' });
  t.strictSame(await client.subscribe(topics.service('x.y')), [1], 'one less, one more');
  t.equal(broker.stats().refused.subscribe, 4);
});

t.test('a joiner asks on its own topic, hears its own answer, and nothing else', async t => {
  const { broker, port } = await startBroker(t, fleet);
  const { link: master } = await startLink(t, fleet, port, 'master');
  const asked = nextMessage(master, topics.allJoinRequests);
  const joiner = await RawClient.connect(t, fleet, port);
  t.equal(await joiner.login('n1', { username: 'tok' }), 0);
  const answers = topics.joinResponse('tok', 'n1');
  t.strictSame(await joiner.subscribe(answers, topics.joinResponse('tok', 'n2'), topics.policy), [1, 128, 128]);
  joiner.publish(topics.joinRequest('tok', 'n1'), 'csr');
  t.strictSame(await asked, { topic: topics.joinRequest('tok', 'n1'), text: 'csr' });
  await master.publish(answers, Buffer.from('chain'), { qos: 1 });
  t.match(await joiner.next(), { cmd: 'publish', topic: answers });
  joiner.publish(topics.joinRequest('tok', 'n2'), 'csr');
  await joiner.closed();
  t.match(broker.stats(), { refused: { publish: 1, subscribe: 2 } });
});

t.test('a frozen subscriber delays nobody, and is cut off at the bound of its buffer', async t => {
  const { broker, port } = await startBroker(t, fleet, { limits: { maxBufferedBytes: 256 * 1024 } });
  const frozen = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await frozen.login('b');
  t.strictSame(await frozen.subscribe(topics.policy, topics.allDown('b')), [1, 1]);
  frozen.socket.pause();
  const healthy = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await healthy.login('a');
  await healthy.subscribe(topics.down('a', 'ask'));
  const payload = Buffer.alloc(64 * 1024);
  for (let i = 0; broker.stats().refused.slow === 0; i++) {
    if (i > 1000) throw new Error('64 MB wait for a client that reads nothing');
    await broker.publish(topics.policy, payload, { qos: 1, retain: false });
    await broker.publish(topics.down('a', 'ask'), Buffer.from('now'), { qos: 0, retain: false });
    const heard = await healthy.next();
    if (heard?.cmd !== 'publish' || heard.topic !== topics.down('a', 'ask')) t.fail('the healthy one heard nothing');
  }
  t.match(broker.stats(), { refused: { slow: 1 }, connected: { node: 1 } });
});

t.test('a frozen subscriber below that bound is cut off after the drain timeout', async t => {
  const { broker, port } = await startBroker(t, fleet, {
    limits: { maxBufferedBytes: 1 << 30, maxTotalBufferedBytes: 2 ** 31, drainTimeoutMs: 20 },
  });
  const frozen = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await frozen.login('b');
  await frozen.subscribe(topics.allDown('b'));
  frozen.socket.pause();
  const payload = Buffer.alloc(1 << 20);
  for (let i = 0; broker.stats().connected.node === 1; i++) {
    if (i > 1000) throw new Error('1 GB waits for a client that reads nothing');
    await broker.publish(topics.down('b', 'task'), payload, { qos: 0, retain: false });
  }
  t.equal(broker.stats().refused.slow, 1);
});

t.test('a client that asks for a large document again and again is cut off before it costs the memory', async t => {
  const { broker, port } = await startBroker(t, fleet, { limits: { maxBufferedBytes: 4 << 20 } });
  await broker.publish(topics.policy, Buffer.alloc(1 << 20), { qos: 1, retain: true });
  const greedy = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await greedy.login('b');
  const ask = mqttPacket.generate({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: topics.policy, qos: 1 }],
  });
  const before = process.memoryUsage().arrayBuffers + process.memoryUsage().external;
  greedy.socket.pause();
  greedy.send(Buffer.concat(Array.from({ length: 2000 }, () => ask)));
  await broker.publish(topics.policy, Buffer.alloc(1 << 20), { qos: 1, retain: true });
  while (broker.stats().connected.node > 0) await new Promise(resolve => setImmediate(resolve));
  const grownBy = process.memoryUsage().arrayBuffers + process.memoryUsage().external - before;
  t.ok(grownBy < 200 << 20, `${grownBy >> 20} MB of 2000`);
  t.equal(broker.stats().refused.slow, 1);
});

t.test('connections above the bound are closed unanswered', async t => {
  const { broker, port } = await startBroker(t, fleet, { limits: { maxConnections: 1 } });
  const first = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  t.equal(await first.login('a'), 0);
  await t.rejects(RawClient.connect(t, fleet, port, fleet.nodes.b));
  t.equal(broker.stats().connectionsDropped, 1);
});

t.test('one who leaves while its token is looked up leaves nothing behind', async t => {
  let tell = (_known: boolean) => {};
  let note = () => {};
  const asked = new Promise<void>(resolve => {
    note = resolve;
  });
  const knowsToken = () => {
    note();
    return new Promise<boolean>(resolve => {
      tell = resolve;
    });
  };
  const { broker, port, events } = await startBroker(t, fleet, {}, { knowsToken });
  const joiner = await RawClient.connect(t, fleet, port);
  joiner.send(connectPacket('n1', { username: 'tok' }));
  await asked;
  joiner.socket.destroy();
  while (broker.stats().connections > 0) await new Promise(resolve => setImmediate(resolve));
  tell(true);
  const node = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  t.equal(await node.login('a'), 0);
  t.match(broker.stats(), { connected: { join: 0, node: 1 }, connections: 1 });
  t.equal(events.length, 1);
});

t.test('a token that cannot be looked up is one that is not known', async t => {
  const knowsToken = () => Promise.reject(new Error('the store is away'));
  const { port } = await startBroker(t, fleet, {}, { knowsToken });
  const joiner = await RawClient.connect(t, fleet, port);
  t.equal(await joiner.login('n1', { username: 'tok' }), 4);
});

import mqttPacket from 'mqtt-packet';
import t from 'tap';
import { defaultLimits } from '../../src/broker/limits.ts';
import { SourceRates } from '../../src/broker/source-rates.ts';
import { topics } from '../../src/model/topics.ts';
import { makeFleet, RawClient, startBroker } from '../fixtures/wire.ts';

const fleet = makeFleet();
const none = { perSecond: 0, burst: 0 };
const plenty = { perSecond: 0, burst: 1e9 };

t.test('each source has a rate of its own, an IPv6 network is one source, and the oldest is forgotten', async t => {
  const sources = new SourceRates({ perSecond: 1, burst: 1 }, 2);
  const take = (...addresses: (string | undefined)[]) => addresses.map(address => sources.take(address, 0));
  t.strictSame(take('10.0.0.1', '10.0.0.1', '::ffff:10.0.0.1'), [true, false, false]);
  t.strictSame(take('fd00::1', 'fd00::2', 'fd00:0:0:1::1'), [true, false, true], 'the third source ends the first');
  t.strictSame(take('10.0.0.1', undefined, 'unix'), [true, true, false], 'what has no address is one source');
});

t.test('a source that connects too often is closed unanswered, until time has passed', async t => {
  const limits = { connectionsPerSource: { perSecond: 1, burst: 2 } };
  const { broker, port, clock } = await startBroker(t, fleet, { limits });
  const first = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await t.rejects(RawClient.connect(t, fleet, port, fleet.nodes.b));
  t.match(broker.stats(), { connectionsLimited: 1, connections: 2 });
  t.equal(await first.login('a'), 0, 'those that are open stay');
  await clock.advance(1000);
  await RawClient.connect(t, fleet, port, fleet.nodes.b);
});

t.test('a client that says too many messages is cut off, and its neighbour is not', async t => {
  const rates = { ...defaultLimits.rates, node: { messages: { perSecond: 10, burst: 20 }, bytes: plenty } };
  const { broker, port, clock } = await startBroker(t, fleet, { limits: { rates } });
  const neighbour = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await neighbour.login('b');
  const eager = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await eager.login('a');
  for (const round of [1, 2]) {
    for (let i = 0; i < 10 * round; i++) eager.publish(topics.up('a', 'hb'), 'x');
    eager.send({ cmd: 'pingreq' });
    await eager.next();
    await clock.advance(2000);
  }
  t.equal(broker.stats().refused.rate, 1, 'the second round is 21 at once');
  const crowd = Array.from({ length: 30 }, () => mqttPacket.generate({ cmd: 'pingreq' }));
  neighbour.send({ cmd: 'pingreq' });
  t.match(await neighbour.next(), { cmd: 'pingresp' });
  neighbour.send(Buffer.concat(crowd));
  await neighbour.closed();
  t.equal(broker.stats().refused.rate, 2, 'many in one piece count each');
});

t.test('a client that says too many bytes is cut off', async t => {
  const rates = { ...defaultLimits.rates, node: { messages: plenty, bytes: { perSecond: 1000, burst: 100_000 } } };
  const { broker, port } = await startBroker(t, fleet, { limits: { rates } });
  const client = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await client.login('a');
  client.publish(topics.up('a', 'hb'), Buffer.alloc(90_000));
  client.send({ cmd: 'pingreq' });
  t.match(await client.next(), { cmd: 'pingresp' });
  client.publish(topics.up('a', 'hb'), Buffer.alloc(20_000));
  await client.closed();
  t.equal(broker.stats().refused.rate, 1);
});

t.test('a role may have no right to speak at all', async t => {
  const { broker, port } = await startBroker(t, fleet, {
    limits: { rates: { ...defaultLimits.rates, join: { messages: none, bytes: none } } },
  });
  const joiner = await RawClient.connect(t, fleet, port);
  t.equal(await joiner.login('n1', { username: 'tok' }), 0, 'the CONNECT itself is not counted');
  joiner.send({ cmd: 'pingreq' });
  await joiner.closed();
  t.equal(broker.stats().refused.rate, 1);
});

t.test('when all together hold too much, the one who holds most is cut off and the others are served', async t => {
  const miB = 1 << 20;
  const { broker, port } = await startBroker(t, fleet, { limits: { maxTotalBufferedBytes: 16 * miB } });
  const frozen = await RawClient.connect(t, fleet, port, fleet.nodes.b);
  await frozen.login('b');
  await frozen.subscribe(topics.allDown('b'));
  frozen.socket.pause();
  const healthy = await RawClient.connect(t, fleet, port, fleet.nodes.a);
  await healthy.login('a');
  await healthy.subscribe(topics.allDown('a'));
  t.ok(16 * miB > defaultLimits.maxBufferedBytes, 'its own bound comes first, unless others hold something too');
  const payload = Buffer.alloc(miB);
  // eight for the frozen one stay below its own bound
  for (let i = 0; i < 8; i++) await broker.publish(topics.down('b', 'task'), payload, { qos: 0, retain: false });
  await Promise.all(
    Array.from({ length: 4 }, () => broker.publish(topics.down('a', 'task'), payload, { qos: 0, retain: false })),
  );
  for (let i = 0; i < 4; i++) t.match(await healthy.next(), { cmd: 'publish' });
  t.match(broker.stats().refused, { memory: 0, slow: 0 });
  t.ok(broker.stats().bufferedBytes < 9 * miB && broker.stats().bufferedBytes > miB);
  const small = await startBroker(t, fleet, { limits: { maxTotalBufferedBytes: 4 * miB } });
  const stuck = await RawClient.connect(t, fleet, small.port, fleet.nodes.b);
  await stuck.login('b');
  await stuck.subscribe(topics.allDown('b'));
  stuck.socket.pause();
  const served = await RawClient.connect(t, fleet, small.port, fleet.nodes.a);
  await served.login('a');
  await served.subscribe(topics.allDown('a'));
  for (let i = 0; small.broker.stats().refused.memory === 0; i++) {
    if (i > 100) throw new Error('100 MB wait for all together');
    await small.broker.publish(topics.down('b', 'task'), payload, { qos: 0, retain: false });
    await small.broker.publish(topics.down('a', 'ask'), Buffer.from('now'), { qos: 0, retain: false });
    t.match(await served.next(), { cmd: 'publish' });
  }
  t.match(small.broker.stats(), { refused: { memory: 1, slow: 0 }, connected: { node: 1 } });
});

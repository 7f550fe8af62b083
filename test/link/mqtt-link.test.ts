import { once } from 'node:events';
import { createServer as createTcpServer, type Server } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import mqttPacket, { type Packet } from 'mqtt-packet';
import t, { type Test } from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { type Log, silentLog } from '../../src/base/log.ts';
import { clientTlsOptions, serverTlsOptions, verifyPinnedSocket } from '../../src/identity/contexts.ts';
import { tlsDial } from '../../src/link/dial.ts';
import { untilUp } from '../../src/link/link.ts';
import type { MqttLink } from '../../src/link/mqtt-link.ts';
import { topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { makeFleet, makeLink, nextMessage, startBroker, startLink, untilState } from '../fixtures/wire.ts';

const fleet = makeFleet();
const stranger = makeFleet();
const bytes = (text: string) => Buffer.from(text);

/** A TLS server with the given certificate that does what `serve` does. */
async function listen(t: Test, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets = new Set<{ destroy(): void }>();
  server.on('connection', socket => sockets.add(socket));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** A broker of few words: it answers with what `answer` gives. */
function tersely(t: Test, answer: (packet: Packet, socket: TLSSocket) => Packet | undefined): Promise<number> {
  const options = serverTlsOptions(fleet.master, fleet.authority.authority.bundle, 'caller');
  const server = createServer(options, socket => {
    const parser = mqttPacket.parser();
    parser.on('packet', (packet: Packet) => {
      const reply = answer(packet, socket);
      if (reply !== undefined) socket.write(mqttPacket.generate(reply));
    });
    socket.on('data', chunk => parser.parse(chunk));
    socket.on('error', () => {});
  });
  return listen(t, server);
}
const connack: Packet = { cmd: 'connack', returnCode: 0, sessionPresent: false };

/** Starts a link and waits for its first failure. */
async function firstFailure(t: Test, make: (onFailure: (error: MesoliteError) => void) => MqttLink) {
  const controller = new AbortController();
  const failure = new Promise<MesoliteError>(resolve => {
    void make(resolve).start(controller.signal);
  });
  t.teardown(() => controller.abort());
  return failure;
}

t.test('after the broker has restarted it connects again and hears what it heard before', async t => {
  const first = await startBroker(t, fleet);
  const { link, clock } = await startLink(t, fleet, first.port, 'a');
  const heard = nextMessage(link, topics.allDown('a'));
  await first.stop();
  await untilState(link, 'down');
  await t.rejects(link.publish(topics.up('a', 'ack'), bytes('x'), { qos: 1 }), { code: 'UNAVAILABLE' });
  const second = await startBroker(t, fleet, { port: first.port });
  await clock.untilSleeping();
  await clock.advance(1_000);
  await untilState(link, 'up');
  await second.broker.publish(topics.down('a', 'ask'), bytes('again'), { qos: 1, retain: false });
  t.strictSame(await heard, { topic: topics.down('a', 'ask'), text: 'again' });
  t.equal(link.stats().connections, 2);
});

t.test('a server that is not the master gets not one byte of MQTT', async t => {
  let received = 0;
  const server = createServer(serverTlsOptions(stranger.master, stranger.authority.authority.bundle, 'caller'));
  server.on('secureConnection', socket => {
    socket.on('error', () => {});
    socket.on('data', chunk => {
      received += chunk.length;
    });
  });
  server.on('tlsClientError', () => {});
  const port = await listen(t, server);
  const closed = () => once(server, 'connection').then(([socket]) => once(socket, 'close'));
  const { bundle, rootSha256 } = fleet.authority.authority;
  const ways: Readonly<Record<string, Parameters<typeof tlsDial>[0]>> = {
    'its chain is judged by TLS': {
      tls: () => clientTlsOptions(fleet.nodes.a, bundle, 'tls'),
      verifyServer: () => undefined,
    },
    'its root is pinned by one who joins': {
      tls: () => ({ rejectUnauthorized: false, checkServerIdentity: () => undefined }),
      verifyServer: socket => {
        const verification = verifyPinnedSocket(socket, rootSha256, { now: Date.now() });
        return verification.ok ? undefined : new Error(verification.reason);
      },
    },
    'the judge itself fails': {
      tls: () => ({ rejectUnauthorized: false, checkServerIdentity: () => undefined }),
      verifyServer: () => {
        throw new Error('no idea');
      },
    },
  };
  for (const [way, parts] of Object.entries(ways)) {
    const over = closed();
    const dial = tlsDial(parts, { host: '127.0.0.1', port });
    const error = await firstFailure(t, onFailure => makeLink(fleet, port, 'a', { parts: { dial, onFailure } }));
    await over;
    t.equal(error.code, 'UNTRUSTED', way);
  }
  t.equal(received, 0);
});

t.test('one who joins speaks to the master whose root it knows', async t => {
  const { port } = await startBroker(t, fleet);
  const { rootSha256 } = fleet.authority.authority;
  const dial = tlsDial(
    {
      tls: () => ({ rejectUnauthorized: false, checkServerIdentity: () => undefined }),
      verifyServer: socket => {
        const verification = verifyPinnedSocket(socket, rootSha256, { now: Date.now() });
        return verification.ok ? undefined : new Error(verification.reason);
      },
    },
    { host: 'localhost', port },
  );
  const settings = { clientId: 'n1', username: 'tok' };
  const { link } = await startLink(t, fleet, port, 'a', { settings, parts: { dial } });
  await link.publish(topics.joinRequest('tok', 'n1'), bytes('csr'), { qos: 1 });
});

t.test('why a connection failed is told by code', async t => {
  const { port, broker } = await startBroker(t, fleet);
  const failure = (settings: object, at = port) =>
    firstFailure(t, onFailure => makeLink(fleet, at, 'a', { settings, parts: { onFailure } }));
  t.match(await failure({ clientId: 'b' }), { code: 'FORBIDDEN', message: 'the broker refuses this client id' });
  const will = { topic: topics.policy, payload: bytes('x'), qos: 1 };
  t.match(await failure({ will }), { code: 'FORBIDDEN', message: 'the broker refuses this client' });
  const free = await startBroker(t, fleet);
  await free.stop();
  t.match(await failure({}, free.port), { code: 'UNAVAILABLE', message: /cannot connect to 127\.0\.0\.1:\d+/ });

  await broker.publish(topics.policy, Buffer.alloc(5000), { qos: 1, retain: true });
  const tooLarge = await firstFailure(t, onFailure => {
    const link = makeLink(fleet, port, 'a', { settings: { maxReceiveBytes: 2000 }, parts: { onFailure } });
    link.subscribe(topics.policy, () => t.fail('a message above the bound was taken'));
    return link;
  });
  t.match(tooLarge, { code: 'TOO_LARGE', message: 'a packet of more than 2000 bytes came in' });
});

t.test('a server that says nothing is given up after the timeout, in TLS and in MQTT', async t => {
  let reached = () => {};
  const mute = await listen(
    t,
    createTcpServer(socket => socket.on('error', () => {}).once('data', () => reached())),
  );
  const taciturn = await tersely(t, () => {
    reached();
    return undefined;
  });
  for (const port of [mute, taciturn]) {
    const clock = new FakeClock();
    const isReached = new Promise<void>(resolve => {
      reached = resolve;
    });
    const failed = firstFailure(t, onFailure => makeLink(fleet, port, 'a', { parts: { onFailure } }, clock));
    await isReached;
    await clock.advance(20_000);
    t.match(await failed, { code: 'TIMED_OUT', message: 'no connection to the broker within 20000 ms' });
  }
});

t.test('the pauses between attempts grow to their bound', async t => {
  const pauses: unknown[] = [];
  const note: Log['warn'] = (_sentence, fields) => pauses.push(fields?.retryInMs);
  const log: Log = { ...silentLog, warn: note, debug: note };
  const clock = new FakeClock();
  const dial = () => Promise.reject(new MesoliteError('UNAVAILABLE', 'no network'));
  const settings = { backoff: { baseMs: 100, maxMs: 1600 } };
  const link = makeLink(fleet, 0, 'a', { settings, parts: { dial, log, random: () => 1 } }, clock);
  const controller = new AbortController();
  await link.start(controller.signal);
  for (let i = 0; i < 6; i++) {
    await clock.untilSleeping();
    await clock.advance(1600);
  }
  controller.abort();
  await link.closed;
  t.strictSame(pauses.slice(0, 6), [100, 200, 400, 800, 1600, 1600]);
});

t.test('certificates are asked for at each connection', async t => {
  const { port, events, broker } = await startBroker(t, fleet);
  const identities = [fleet.nodes.a, fleet.authority.node('a')];
  let asked = 0;
  const tls = () => {
    const identity = identities[asked++] ?? fleet.nodes.a;
    return clientTlsOptions(identity, fleet.authority.authority.bundle, 'tls');
  };
  const dial = tlsDial({ tls, verifyServer: () => undefined }, { host: '127.0.0.1', port });
  const { link, clock } = await startLink(t, fleet, port, 'a', { parts: { dial } });
  const { link: other } = await startLink(t, fleet, port, 'a');
  await untilState(link, 'down');
  await clock.untilSleeping();
  await clock.advance(1_000);
  await untilState(link, 'up');
  t.equal(asked, 2);
  t.equal(broker.stats().takeovers, 2);
  t.equal(events.length, 3);
  await untilState(other, 'down');
});

t.test('a subscription that the broker refuses is logged, and the others hold', async t => {
  const { port, broker } = await startBroker(t, fleet);
  const warnings: unknown[] = [];
  const log: Log = { ...silentLog, warn: (_sentence, fields) => warnings.push(fields) };
  const notGranted: string[] = [];
  const onNotGranted = (filters: readonly string[]) => notGranted.push(...filters);
  const link = makeLink(fleet, port, 'a', { parts: { log, onNotGranted } });
  const heard = nextMessage(link, topics.down('a', 'ask'));
  link.subscribe(topics.allDown('b'), () => t.fail("another's message"));
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  await link.start(controller.signal);
  await untilUp(link, controller.signal);
  await broker.publish(topics.down('b', 'ask'), bytes('theirs'), { qos: 1, retain: false });
  await broker.publish(topics.down('a', 'ask'), bytes('ours'), { qos: 1, retain: false });
  t.equal((await heard).text, 'ours');
  t.strictSame(warnings, [{ filters: [topics.allDown('b')] }]);
  t.strictSame(notGranted, [topics.allDown('b')]);
});

t.test('stopping says goodbye: no last will is told', async t => {
  const { port, broker } = await startBroker(t, fleet);
  const heard: string[] = [];
  broker.listen(topics.allUp, topic => heard.push(topic));
  const will = { topic: topics.up('a', 'death'), payload: bytes('1'), qos: 1 } as const;
  const { link, stop } = await startLink(t, fleet, port, 'a', { settings: { will } });
  const sent = link.publish(topics.up('a', 'ack'), bytes('last words'), { qos: 1 });
  await stop();
  await sent;
  while (broker.stats().connections > 0) await new Promise(resolve => setImmediate(resolve));
  t.strictSame(heard, [topics.up('a', 'ack')]);
});

t.test('a message that is not acknowledged fails with the connection, with its signal, and after the stop', async t => {
  const port = await tersely(t, packet => (packet.cmd === 'connect' ? connack : undefined));
  const settings = { maxInFlight: 2 };
  const { link, clock, stop } = await startLink(t, fleet, port, 'a', { settings });
  const publish = (signal?: AbortSignal) =>
    link.publish(topics.up('a', 'ack'), bytes('x'), signal === undefined ? { qos: 1 } : { qos: 1, signal });
  const given = new AbortController();
  const unanswered = [publish(given.signal), publish()] as const;
  await t.rejects(publish(), { code: 'QUEUE_FULL' });
  given.abort();
  await t.rejects(unanswered[0], { code: 'UNAVAILABLE' });
  const failed = t.rejects(unanswered[1], { code: 'UNAVAILABLE', message: /the broker did not answer in time/ });
  const stopped = stop();
  await clock.untilSleeping();
  await clock.advance(2_000);
  await failed;
  await stopped;
  t.equal(link.state.value, 'down');
});

t.test('a broker that closes while messages are under way fails them, and the link comes up again', async t => {
  const port = await tersely(t, (packet, socket) => {
    if (packet.cmd === 'publish') socket.destroy();
    return packet.cmd === 'connect' ? connack : undefined;
  });
  const { link, clock } = await startLink(t, fleet, port, 'a');
  await t.rejects(link.publish(topics.up('a', 'ack'), bytes('x'), { qos: 1 }), { code: 'UNAVAILABLE' });
  await untilState(link, 'down');
  await clock.untilSleeping();
  await clock.advance(1_000);
  await untilState(link, 'up');
});

t.test('a keep-alive longer than the broker takes is lowered to that', async t => {
  const { port, broker } = await startBroker(t, fleet);
  const { link } = await startLink(t, fleet, port, 'a', { settings: { keepaliveSeconds: () => 5400 } });
  t.equal(link.state.value, 'up');
  t.equal(broker.stats().refused.keepalive, 0);
});

t.test('waiting for the link ends with the signal', async t => {
  const link = makeLink(fleet, 1, 'a');
  const controller = new AbortController();
  const waiting = untilUp(link, controller.signal);
  controller.abort();
  await t.rejects(waiting, { code: 'UNAVAILABLE' });
  await t.rejects(untilUp(link, AbortSignal.abort()), { code: 'UNAVAILABLE' });
});

import { once } from 'node:events';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';
import mqttPacket, { type Packet } from 'mqtt-packet';
import t, { type Test } from 'tap';
import { WebSocket } from 'ws';
import { clientTlsOptions, joinTlsOptions } from '../../src/identity/contexts.ts';
import { topics } from '../../src/model/topics.ts';
import type { TestIdentity } from '../fixtures/test-authority.ts';
import { connectPacket, makeFleet, nextMessage, RawClient, startBroker, startWebSocketPort } from '../fixtures/wire.ts';

const fleet = makeFleet();

/** A WebSocket that speaks MQTT by hand, one packet in one message. */
class RawWebSocket {
  readonly webSocket: WebSocket;
  readonly #packets: Packet[] = [];
  readonly #waiting: ((packet: Packet | undefined) => void)[] = [];

  constructor(webSocket: WebSocket) {
    this.webSocket = webSocket;
    const parser = mqttPacket.parser();
    parser.on('packet', (packet: Packet) => {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#packets.push(packet);
      else waiting(packet);
    });
    webSocket.on('message', (data: Buffer) => parser.parse(data));
    webSocket.on('error', () => {});
    webSocket.on('close', () => {
      for (const waiting of this.#waiting.splice(0)) waiting(undefined);
    });
  }

  static async open(t: Test, port: number, identity?: TestIdentity): Promise<RawWebSocket> {
    const { bundle } = fleet.authority.authority;
    const tls = identity === undefined ? joinTlsOptions() : clientTlsOptions(identity, bundle, 'tls');
    const webSocket = new WebSocket(`wss://127.0.0.1:${port}/mqtt`, 'mqtt', tls as object);
    t.teardown(() => webSocket.terminate());
    await once(webSocket, 'open');
    return new RawWebSocket(webSocket);
  }

  send(packet: Packet): void {
    this.webSocket.send(mqttPacket.generate(packet));
  }

  next(): Promise<Packet | undefined> {
    const packet = this.#packets.shift();
    if (packet !== undefined || this.webSocket.readyState === WebSocket.CLOSED) return Promise.resolve(packet);
    return new Promise(resolve => this.#waiting.push(resolve));
  }

  async login(clientId: string, fields: object = {}): Promise<number | undefined> {
    this.send(connectPacket(clientId, fields));
    const answer = await this.next();
    return answer?.cmd === 'connack' ? answer.returnCode : undefined;
  }
}

/** The status that an upgrade is answered with. */
async function statusOf(port: number, path: string, headers: object): Promise<number | undefined> {
  const request = httpsRequest({
    host: '127.0.0.1',
    port,
    path,
    rejectUnauthorized: false,
    agent: false,
    headers: { ...headers },
  });
  request.on('error', () => {});
  request.end();
  const status = await new Promise<number | undefined>(resolve => {
    request.once('response', response => resolve(response.statusCode));
    request.once('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    request.once('error', () => resolve(undefined));
  });
  request.destroy();
  return status;
}

const upgrade = {
  connection: 'upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': Buffer.alloc(16, 7).toString('base64'),
  'sec-websocket-protocol': 'mqtt',
};

t.test('a node comes in by WebSocket under its certificate, and a joiner under its token', async t => {
  const { broker, events } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  const node = await RawWebSocket.open(t, port, fleet.nodes.a);
  t.equal(node.webSocket.protocol, 'mqtt');
  t.equal(await node.login('a'), 0);
  const joiner = await RawWebSocket.open(t, port);
  t.equal(await joiner.login('n1', { username: 'tok' }), 0);
  t.match(broker.stats(), { connected: { node: 1, join: 1 }, connections: 2, webSockets: 2 });
  const heard = nextMessage({ subscribe: (filter, handler) => broker.listen(filter, handler) }, topics.allUp);
  node.send({ cmd: 'publish', topic: topics.up('a', 'hb'), payload: 'x', qos: 0, dup: false, retain: false });
  t.strictSame(await heard, { topic: topics.up('a', 'hb'), text: 'x' });
  node.webSocket.terminate();
  joiner.webSocket.close();
  while (broker.stats().connections > 0) await new Promise(resolve => setImmediate(resolve));
  t.match(broker.stats(), { connected: { node: 0, join: 0 }, webSockets: 0 });
  t.strictSame(
    events.map(({ kind }) => kind),
    ['connected', 'connected', 'disconnected', 'disconnected'],
  );
});

t.test('admission is that of the own port: no identity, another id, an unknown token, another topic', async t => {
  const { broker } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  const codes: (number | undefined)[] = [];
  for (const [identity, id, fields] of [
    [undefined, 'a', {}],
    [fleet.nodes.a, 'b', {}],
    [undefined, 'n1', { username: 'other' }],
    [makeFleet().nodes.a, 'a', {}],
  ] as const) {
    codes.push(await (await RawWebSocket.open(t, port, identity)).login(id, fields));
  }
  t.strictSame(codes, [5, 2, 4, 5]);
  const node = await RawWebSocket.open(t, port, fleet.nodes.a);
  await node.login('a');
  node.send({ cmd: 'publish', topic: topics.policy, payload: 'x', qos: 0, dup: false, retain: true });
  t.equal(await node.next(), undefined);
  t.equal(broker.stats().refused.publish, 1);
});

t.test('a newer connection takes over, whichever way either came', async t => {
  const { broker, port: own } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  const first = await RawWebSocket.open(t, port, fleet.nodes.a);
  await first.login('a');
  const second = await RawClient.connect(t, fleet, own, fleet.nodes.a);
  t.equal(await second.login('a'), 0);
  t.equal(await first.next(), undefined);
  const third = await RawWebSocket.open(t, port, fleet.nodes.a);
  t.equal(await third.login('a'), 0);
  await second.closed();
  t.match(broker.stats(), { takeovers: 2, connected: { node: 1 } });
});

t.test('only /mqtt is upgraded, and only to MQTT', async t => {
  const { broker } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  t.equal(await statusOf(port, '/mqtt', upgrade), 101);
  for (const path of ['/', '/mqtt/', '/mqtt?x=1', '/v1/nodes']) t.equal(await statusOf(port, path, upgrade), 404, path);
  t.equal(await statusOf(port, '/mqtt', { ...upgrade, 'sec-websocket-protocol': 'chat' }), 400);
  t.equal(await statusOf(port, '/mqtt', { ...upgrade, 'sec-websocket-key': 'x' }), 400);
  t.equal(await statusOf(port, '/mqtt', { ...upgrade, upgrade: 'h2c' }), 400);
  t.equal(await statusOf(port, '/', {}), 404, 'what is no upgrade is for the HTTP server');
  t.equal(broker.stats().upgradesRefused, 7);
});

t.test('before CONNECT a message may be neither large nor late', async t => {
  const { broker, clock } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  const rawOf = (client: RawWebSocket): TLSSocket => (client.webSocket as unknown as { _socket: TLSSocket })._socket;
  const half = await RawWebSocket.open(t, port, fleet.nodes.a);
  // a binary frame of 200,000 bytes (RFC 6455 5.2), of which not all comes
  const head = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 3, 0x0d, 0x40, 0, 0, 0, 0]);
  rawOf(half).write(Buffer.concat([head, Buffer.alloc(12_000)]));
  t.equal(await half.next(), undefined);
  const huge = await RawWebSocket.open(t, port, fleet.nodes.a);
  rawOf(huge).write(Buffer.from([0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
  t.equal(await huge.next(), undefined, 'what is announced is enough');
  t.equal(broker.stats().refused['too-large'], 2);
  const silent = await RawWebSocket.open(t, port, fleet.nodes.a);
  const closed = silent.next();
  while (broker.stats().connections < 1) await new Promise(resolve => setImmediate(resolve));
  await clock.advance(5_000);
  t.equal(await closed, undefined);
  t.equal(broker.stats().refused['connect-timeout'], 1);
});

t.test('a text message, and one in crumbs, end the connection', async t => {
  const { broker } = await startBroker(t, fleet);
  const port = await startWebSocketPort(t, fleet, broker);
  const text = await RawWebSocket.open(t, port, fleet.nodes.a);
  await text.login('a');
  text.webSocket.send('ping', { binary: false });
  t.equal(await text.next(), undefined);
  const crumbs = await RawWebSocket.open(t, port, fleet.nodes.b);
  await crumbs.login('b');
  for (let i = 0; i < 300; i++) crumbs.webSocket.send(Buffer.from([0xc0]), { fin: false });
  t.equal(await crumbs.next(), undefined);
  t.match(broker.stats().refused, { malformed: 1, 'too-large': 1 });
});

t.test('a source that connects too often is told so, and a broker that has stopped takes nobody', async t => {
  const limits = { connectionsPerSource: { perSecond: 1, burst: 1 } };
  const { broker, stop } = await startBroker(t, fleet, { limits });
  const port = await startWebSocketPort(t, fleet, broker);
  const first = await RawWebSocket.open(t, port, fleet.nodes.a);
  t.equal(await statusOf(port, '/mqtt', upgrade), 429);
  t.match(broker.stats(), { connectionsLimited: 1, upgradesRefused: 1 });
  const closed = first.next();
  await stop();
  t.equal(await closed, undefined, 'its stop ends WebSockets, too');
  t.equal(await statusOf(port, '/mqtt', upgrade), 503);
});

t.test('connections by WebSocket count towards the bound of all', async t => {
  const { broker } = await startBroker(t, fleet, { limits: { maxConnections: 1 } });
  const port = await startWebSocketPort(t, fleet, broker);
  await (await RawWebSocket.open(t, port, fleet.nodes.a)).login('a');
  t.equal(await statusOf(port, '/mqtt', upgrade), 503);
  t.equal(broker.stats().connectionsDropped, 1);
});

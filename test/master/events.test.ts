import { join } from 'node:path';
import t, { type Test } from 'tap';
import { hourMs, minuteMs } from '../../src/base/clock.ts';
import { type Log, silentLog } from '../../src/base/log.ts';
import { eventBounds, makeEvents } from '../../src/master/events.ts';
import { openStore } from '../../src/store/store.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

async function setUp(t: Test, log: Log = silentLog) {
  const path = join(t.testdir(), 'store.db');
  const store = await openStore({ path });
  t.teardown(() => store.close());
  const clock = new FakeClock();
  return { store, clock, events: makeEvents({ events: store.events, clock, log }) };
}

t.test('events are told newest last, with the severity of their kind, and found by what they are', async t => {
  const { clock, events } = await setUp(t);
  const start = clock.now();
  events.record('node-joined', { node: 'pi-1', message: 'joined' });
  await clock.advance(1_000);
  events.record('node-quarantined', { node: 'pi-2', message: 'two of it' });
  await clock.advance(1_000);
  events.record('authority-rotated', { message: 'a new issuer' });
  const all = await events.query({ limit: 10 });
  t.match(all, [
    { at: start, kind: 'node-joined', severity: 'info', node: 'pi-1', message: 'joined', count: 1 },
    { at: start + 1_000, kind: 'node-quarantined', severity: 'critical', node: 'pi-2' },
    { at: start + 2_000, kind: 'authority-rotated', node: null },
  ]);
  const kinds = async (filter: object) => (await events.query({ limit: 10, ...filter })).map(event => event.kind);
  t.same(await kinds({ since: start + 1_000 }), ['node-quarantined', 'authority-rotated']);
  t.same(await kinds({ node: 'pi-1' }), ['node-joined']);
  t.same(await kinds({ kind: 'node-quarantined' }), ['node-quarantined']);
  t.same(await kinds({ limit: 2 }), ['node-quarantined', 'authority-rotated'], 'the newest are kept');
});

t.test('what is told again within an hour is one event with a count, over a restart too', async t => {
  const { store, clock, events } = await setUp(t);
  for (let i = 0; i < 5; i++) {
    events.record('document-refused', { node: 'pi-1', message: 'expired' });
    await clock.advance(10_000);
  }
  t.match(await events.query({ limit: 10 }), [{ count: 5 }]);
  const restarted = makeEvents({ events: store.events, clock, log: silentLog });
  restarted.record('document-refused', { node: 'pi-1', message: 'expired' });
  restarted.record('document-refused', { node: 'pi-2', message: 'expired' });
  t.match(await restarted.query({ limit: 10 }), [
    { node: 'pi-1', count: 6, at: clock.now() },
    { node: 'pi-2', count: 1 },
  ]);
  await clock.advance(hourMs);
  restarted.record('document-refused', { node: 'pi-1', message: 'expired' });
  t.match(await restarted.query({ limit: 10 }), [{ count: 6 }, { count: 1 }, { node: 'pi-1', count: 1 }]);
});

t.test('what is told over and over is written once a minute', async t => {
  const written: unknown[] = [];
  const log: Log = { ...silentLog, warn: (_, fields) => written.push(fields?.count) };
  const { clock, events } = await setUp(t, log);
  for (let i = 0; i < 130; i++) {
    events.record('join-refused', { message: 'no' });
    await clock.advance(minuteMs / 60);
  }
  t.match(await events.query({ limit: 10 }), [{ count: 130 }]);
  t.same(written, [1, 61, 121, 130], 'what was still to be written is, when somebody asks');
});

t.test('a node that refuses in ever other words fills no more than its rows', async t => {
  const { events } = await setUp(t);
  for (let i = 0; i < 100; i++) events.record('document-refused', { node: 'pi-1', message: `no ${i}` });
  events.record('document-refused', { node: 'pi-2', message: 'x'.repeat(2_000) });
  const rows = await events.query({ limit: 1_000 });
  t.equal(rows.length, eventBounds.differing + 1);
  t.equal(
    rows.reduce((sum, row) => sum + row.count, 0),
    101,
    'and each is counted',
  );
  t.equal(rows.at(-1)?.message.length, eventBounds.messageChars);
});

t.test('the oldest are forgotten beyond the bound', async t => {
  const { store } = await setUp(t);
  const bounds = { ...eventBounds, keep: 3 };
  for (let at = 1; at <= 5; at++) {
    await store.events.record({ at, kind: 'node-joined', node: `pi-${at}`, message: 'joined', count: 1 }, bounds);
  }
  t.same(
    (await store.events.query({ limit: 10 })).map(event => event.node),
    ['pi-3', 'pi-4', 'pi-5'],
  );
});

t.test('an event that cannot be written is logged, and harms nobody', async t => {
  const said: unknown[] = [];
  const log: Log = { ...silentLog, error: (sentence, fields) => said.push([sentence, fields?.event]) };
  const { store, clock } = await setUp(t);
  const failing = { ...store.events, record: () => Promise.reject(new Error('the disk is full')) };
  const events = makeEvents({ events: failing, clock, log });
  events.record('node-quarantined', { node: 'pi-1', message: 'two of it' });
  t.same(await events.query({ limit: 1 }), []);
  t.same(said, [['an event could not be written', 'node-quarantined']]);
});

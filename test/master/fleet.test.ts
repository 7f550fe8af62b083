import t, { type Test } from 'tap';
import { makeFleet } from '../../src/master/fleet.ts';
import type { Heartbeat } from '../../src/model/message.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { until } from '../fixtures/fleet-until.ts';
import { birthOf, enterNode, openTestStore } from '../fixtures/master-store.ts';

const heartbeatMs = 10_000;

async function stage(t: Test) {
  const store = await openTestStore(t);
  await enterNode(store, 'pi-1', { zone: 'roof' });
  /** A master's fleet; another one over the same store is the master after a restart. */
  const start = async () => {
    const clock = new FakeClock();
    const events: string[] = [];
    const onEvent = (node: string, event: string) => events.push(`${node} ${event}`);
    const fleet = makeFleet({ nodes: store.nodes, clock, log: new CapturedLog(), onEvent });
    await fleet.load();
    const ended = new AbortController();
    const run = fleet.run(ended.signal);
    t.teardown(async () => {
      ended.abort();
      await run;
    });
    return { fleet, clock, events };
  };
  const storedState = (state: string) =>
    until(`${state} is on the disk`, async () => (await store.nodes.get('pi-1'))?.state === state);
  return { store, start, storedState };
}

const heartbeat = (more: Partial<Heartbeat> = {}): Heartbeat => ({
  v: 1,
  boot: 1,
  seq: 1,
  ts: 0,
  full: false,
  usage: {},
  held: '',
  ...more,
});

t.test('a node that has joined is known, and must introduce itself before its heartbeats count', async t => {
  const { start } = await stage(t);
  const { fleet, events } = await start();
  t.match(fleet.list(), [{ id: 'pi-1', state: 'joined', labels: { zone: 'roof' }, birth: null }]);
  t.notOk(fleet.onHeartbeat('pi-1', heartbeat()));
  t.ok(await fleet.onBirth('pi-1', birthOf()));
  t.match(fleet.get('pi-1'), { state: 'ready', birth: { address: '10.0.0.7' }, usage: { cpu: 0.1 } });
  t.same(events, ['pi-1 born']);
  t.notOk(await fleet.onBirth('stranger', birthOf()));
  t.equal(fleet.get('stranger'), undefined);
});

t.test('a node that says that it will speak less often is waited for', async t => {
  const { start } = await stage(t);
  const { fleet, clock, events } = await start();
  await fleet.onBirth('pi-1', birthOf({ heartbeatMs }));
  fleet.onHeartbeat('pi-1', heartbeat({ everyMs: 110_000 }));
  await clock.advance(329_000);
  t.equal(fleet.get('pi-1')?.state, 'ready');
  fleet.onHeartbeat('pi-1', heartbeat());
  await clock.advance(29_000);
  t.equal(fleet.get('pi-1')?.state, 'ready');
  await clock.advance(2_000);
  t.same(events, ['pi-1 born', 'pi-1 unreachable'], 'what one heartbeat has said does not hold for the next');
});

t.test('a node that joins while the master runs is added', async t => {
  const { start, store } = await stage(t);
  const { fleet } = await start();
  await enterNode(store, 'pi-2');
  t.notOk(await fleet.onBirth('pi-2', birthOf()));
  await fleet.add('pi-2');
  t.ok(await fleet.onBirth('pi-2', birthOf()));
  t.same(
    fleet.list().map(node => node.id),
    ['pi-1', 'pi-2'],
  );
});

t.test('a heartbeat says only what changed, and the rest stays', async t => {
  const { start } = await stage(t);
  const { fleet, clock } = await start();
  await fleet.onBirth('pi-1', birthOf());
  await clock.advance(5_000);
  t.ok(fleet.onHeartbeat('pi-1', heartbeat({ usage: { memUsedMb: 200 } })));
  t.match(fleet.get('pi-1'), { usage: { cpu: 0.1, memUsedMb: 200 }, lastSeen: clock.now() });
});

t.test('a node is unreachable after three heartbeats that did not come, and back with the next', async t => {
  const { start, storedState } = await stage(t);
  const { fleet, clock, events } = await start();
  await fleet.onBirth('pi-1', birthOf());
  await clock.advance(2 * heartbeatMs);
  fleet.onHeartbeat('pi-1', heartbeat());
  await clock.advance(3 * heartbeatMs - 1_000);
  t.equal(fleet.get('pi-1')?.state, 'ready');
  await clock.advance(1_000);
  t.equal(fleet.get('pi-1')?.state, 'unreachable');
  await storedState('unreachable');
  t.ok(fleet.onHeartbeat('pi-1', heartbeat()));
  t.equal(fleet.get('pi-1')?.state, 'ready');
  await storedState('ready');
  t.same(events, ['pi-1 born', 'pi-1 unreachable', 'pi-1 back']);
});

t.test(
  'a last will shortens the lease to one heartbeat, unless the node is heard again or it is of an older start',
  async t => {
    const { start } = await stage(t);
    const { fleet, clock } = await start();
    await fleet.onBirth('pi-1', birthOf({ boot: 2 }));
    fleet.onDeath('pi-1', { v: 1, boot: 1 });
    await clock.advance(2 * heartbeatMs);
    t.equal(fleet.get('pi-1')?.state, 'ready', 'of an older start');
    fleet.onDeath('pi-1', { v: 1, boot: 2 });
    fleet.onHeartbeat('pi-1', heartbeat({ boot: 2 }));
    await clock.advance(2 * heartbeatMs);
    t.equal(fleet.get('pi-1')?.state, 'ready', 'it was overtaken by a heartbeat');
    fleet.onHeartbeat('pi-1', heartbeat({ boot: 2 }));
    fleet.onDeath('pi-1', { v: 1, boot: 2 });
    await clock.advance(heartbeatMs);
    t.equal(fleet.get('pi-1')?.state, 'unreachable');
  },
);

t.test('what an older start of the agent said does not count any more', async t => {
  const { start, store } = await stage(t);
  const { fleet } = await start();
  await fleet.onBirth('pi-1', birthOf({ boot: 3, address: '10.0.0.3' }));
  t.notOk(await fleet.onBirth('pi-1', birthOf({ boot: 2, address: '10.0.0.2' })));
  t.notOk(fleet.onHeartbeat('pi-1', heartbeat({ boot: 2 })));
  t.match(fleet.get('pi-1'), { boot: 3, birth: { address: '10.0.0.3' } });
  t.equal((await store.nodes.get('pi-1'))?.boot, 3);
  t.notOk(fleet.onHeartbeat('pi-1', heartbeat({ boot: 4 })), 'and a newer one has to introduce itself');
});

t.test('a master that starts gives each node a whole lease to speak up', async t => {
  const { start } = await stage(t);
  const before = await start();
  await before.fleet.onBirth('pi-1', birthOf());

  const { fleet, clock, events } = await start();
  t.match(fleet.get('pi-1'), { state: 'ready', birth: { boot: 1 } });
  t.ok(fleet.onHeartbeat('pi-1', heartbeat()), 'without another introduction');
  await clock.advance(3 * heartbeatMs);
  t.equal(fleet.get('pi-1')?.state, 'unreachable');
  t.same(events, ['pi-1 unreachable']);
});

t.test('a node that was silent when the master stopped introduces itself to the next', async t => {
  const { start, storedState } = await stage(t);
  const before = await start();
  await before.fleet.onBirth('pi-1', birthOf());
  await before.clock.advance(3 * heartbeatMs);
  await storedState('unreachable');
  const { fleet, events } = await start();
  t.equal(fleet.get('pi-1')?.state, 'unreachable');
  t.notOk(fleet.onHeartbeat('pi-1', heartbeat()));
  t.ok(await fleet.onBirth('pi-1', birthOf()));
  t.same(events, ['pi-1 back']);
});

t.test('leases are watched on though a state could not be written', async t => {
  const { store } = await stage(t);
  const clock = new FakeClock();
  const log = new CapturedLog();
  const disk = { isFull: false };
  const nodes = {
    ...store.nodes,
    async update(...change: Parameters<typeof store.nodes.update>) {
      if (disk.isFull) throw new Error('database or disk is full');
      await store.nodes.update(...change);
    },
  };
  const fleet = makeFleet({ nodes, clock, log, onEvent: () => {} });
  await fleet.load();
  const ended = new AbortController();
  const run = fleet.run(ended.signal);
  await fleet.onBirth('pi-1', birthOf());
  disk.isFull = true;
  for (let round = 0; round < 2; round++) {
    await clock.advance(3 * heartbeatMs);
    t.equal(fleet.get('pi-1')?.state, 'unreachable');
    fleet.onHeartbeat('pi-1', heartbeat());
    t.equal(fleet.get('pi-1')?.state, 'ready');
  }
  ended.abort();
  await run;
  t.equal(log.all('the state of a node could not be written').length, 4);
});

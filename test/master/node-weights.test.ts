import t from 'tap';
import { secondMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import type { FleetNode } from '../../src/master/fleet.ts';
import { makeNodeRoster } from '../../src/master/node-roster.ts';
import { makeNodeWeights } from '../../src/master/node-weights.ts';
import type { Usage } from '../../src/model/profile.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { birthOf } from '../fixtures/master-store.ts';

const idle: Usage = { cpu: 0, memUsedMb: 1, diskUsedMb: 1, agentRssMb: 1, load1: 0 };

function stage(t: { teardown(undo: () => unknown): void }) {
  const clock = new FakeClock();
  const told: string[] = [];
  const published: number[] = [];
  const room: string[] = [];
  const controller = new AbortController();
  const weights = makeNodeWeights({
    clock,
    log: silentLog,
    events: { record: (kind, { node, message }) => told.push(`${kind} ${node}: ${message}`) },
    onRoom: () => room.push(weights.strainOf('pi-1')),
    publish: async () => {
      published.push(clock.monotonic() / secondMs);
    },
  });
  const running = weights.run(controller.signal);
  t.teardown(() => {
    controller.abort();
    return running;
  });
  const say = (id: string, usage: Partial<Usage>) => {
    const node: FleetNode = {
      id,
      labels: {},
      joinedAt: 1,
      state: 'ready',
      lastSeen: 1,
      birth: birthOf({ thermal: { throttleC: 80, drainC: 85, resumeC: 70 } }),
      usage: { ...idle, ...usage },
      boot: 1,
      quarantine: null,
    };
    weights.onUsage(node);
  };
  return { clock, weights, say, told, published, room };
}

t.test('a node that is kept slow weighs a quarter, and its operator hears of it', async t => {
  const { weights, say, told } = stage(t);
  t.equal(weights.weightOf('pi-1'), 100);
  say('pi-1', { throttled: 1, temperatureC: 84.1 });
  t.same([weights.weightOf('pi-1'), weights.weightOf('pi-2')], [25, 100]);
  t.match(told, [/^node-throttled pi-1: .* at 84.1 °C: /]);
});

t.test('a node that is too hot weighs next to nothing and takes no tasks until it has cooled down', async t => {
  const { clock, weights, say, told, room } = stage(t);
  say('pi-1', { temperatureC: 85.5 });
  t.equal(weights.weightOf('pi-1'), 10);
  t.match(told, [/^node-hot pi-1: it is too hot at 85.5 °C/]);
  const node: FleetNode = {
    ...{ id: 'pi-1', labels: {}, joinedAt: 1, state: 'ready', lastSeen: 1, boot: 1, quarantine: null },
    ...{ birth: birthOf({}), usage: idle },
  };
  const { strainOf } = weights;
  const rosterAt = makeNodeRoster({ fleet: { list: () => [node] }, strainOf, artifactBytes: () => 0 });
  t.match(rosterAt(0).nodes, [{ id: 'pi-1', unavailable: /too hot/ }]);
  for (let beat = 0; beat < 8; beat++) {
    await clock.advance(10 * secondMs);
    say('pi-1', { temperatureC: 65 });
  }
  t.equal(rosterAt(0).nodes[0]?.unavailable, undefined);
  t.same(room, ['hot', 'calm'], 'both times tasks are looked at anew');
});

t.test('however many weights change, they are published every ten seconds at most, and not when none has', async t => {
  const { clock, say, published } = stage(t);
  for (let second = 1; second <= 30; second++) {
    await clock.advance(secondMs);
    for (let node = 0; node < 20; node++) say(`pi-${second}-${node}`, { throttled: 1 });
  }
  await clock.advance(60 * secondMs);
  t.same(published, [10, 20, 30, 40]);
});

t.test('nodes that are about as fast, and fetch about as fast, are of one kind to the scheduler', async t => {
  const nodeOf = (id: string, speed: number | undefined, bytesPerSecond: number) =>
    ({
      id,
      labels: {},
      state: 'ready',
      birth: birthOf({ speed }),
      stock: { holds: { [id]: 2 ** 20 }, bytesPerSecond },
    }) as FleetNode;
  const list = () => [nodeOf('a', 1.02, 1e6), nodeOf('b', undefined, 1.1e6), nodeOf('c', 0.5, 9e6)];
  const roster = makeNodeRoster({
    fleet: { list },
    strainOf: () => 'calm',
    artifactBytes: key => (key === 'app' ? 2 ** 20 : undefined),
  })(0);
  t.same(
    roster.kinds.map(({ example, members }) => [example.speed, members]),
    [
      [1, [0, 1]],
      [0.5, [2]],
    ],
  );
  t.same(
    [0, 1, 2].map(index => roster.fetchMs(index, ['app'])),
    [1000, 1000, 125],
  );
  t.equal(roster.fetchMs(1, ['a', 'b', 'nowhere']), 1000, 'of what the master has not, nodes know the size');
});

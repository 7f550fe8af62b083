import t from 'tap';
import { silentLog } from '../../src/base/log.ts';
import { makeRenewals, renewalBounds } from '../../src/master/renewals.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

function makeWorld() {
  const clock = new FakeClock();
  const world = { left: [] as string[], ready: [] as string[] };
  const asked: string[] = [];
  const renewals = makeRenewals({
    holders: async () => world.left,
    nodes: () => world.ready,
    ask: async (node, withinMs) => void asked.push(`${node} ${withinMs}`),
    clock,
    log: silentLog,
  });
  /** Whom it asks when it is tended now. */
  const tend = async () => {
    await renewals.tend();
    return asked.splice(0);
  };
  return { clock, world, renewals, tend };
}

t.test('those that are ready and have something old are asked, once, and the others when they are back', async t => {
  const { world, tend } = makeWorld();
  world.left = ['a', 'b', 'away'];
  world.ready = ['a', 'b', 'new'];
  t.same(await tend(), ['a 2000', 'b 2000']);
  t.same(await tend(), []);
  world.ready = ['a', 'b', 'away'];
  world.left = ['b', 'away'];
  t.same(await tend(), ['away 2000']);
});

t.test('one that has not renewed long after its moment is asked again', async t => {
  const { clock, world, tend } = makeWorld();
  world.left = world.ready = ['a'];
  t.same(await tend(), ['a 2000']);
  await clock.advance(2_000 + renewalBounds.againMs - 1);
  t.same(await tend(), []);
  await clock.advance(1);
  t.same(await tend(), ['a 2000']);
});

t.test('a fleet has the more time the larger it is, within a bound', async t => {
  const { world, renewals, tend } = makeWorld();
  const fleet = (size: number) => Array.from({ length: size }, (_, i) => `n${i}`);
  world.left = world.ready = fleet(100);
  t.equal((await tend())[0], 'n0 25000');
  renewals.begin();
  world.left = world.ready = fleet(10_000);
  t.equal((await tend()).at(-1), `n9999 ${renewalBounds.mostMs}`);
});

t.test('when nobody is left the store is asked no more, until another authority issues', async t => {
  const { world, renewals, tend } = makeWorld();
  world.ready = ['a'];
  t.same(await tend(), []);
  world.left = ['a'];
  t.same(await tend(), [], 'what is by an authority that issues no more does not become more');
  renewals.begin();
  t.same(await tend(), ['a 2000']);
});

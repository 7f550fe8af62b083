/** Copied cards, and all that looks like one and is not: on the whole master, with boards that speak MQTT by hand. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { NodeIdentity } from '../../src/agent/node-identity.ts';
import { confirmAfterMs } from '../../src/lifecycle/lives.ts';
import { Board } from '../fixtures/board.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { masterConfig, runMaster, type TestMaster } from '../fixtures/fleet.ts';
import { FreePorts } from '../fixtures/fleet-ports.ts';
import { until } from '../fixtures/fleet-until.ts';
import { askToJoin } from '../fixtures/join-door.ts';

const ports = new FreePorts();

interface World {
  readonly master: TestMaster;
  readonly clock: FakeClock;
  readonly identity: NodeIdentity;
  readonly board: (name: string) => string;
}

async function setUp(t: Test): Promise<World> {
  const dir = t.testdir();
  const clock = new FakeClock(Date.now());
  const master = await runMaster(t, await masterConfig(join(dir, 'master'), ports), clock);
  const board = (name: string) => {
    const path = join(dir, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  return { master, clock, board, identity: await askToJoin(board('card'), await master.api.joinString()) };
}

const stateOf = async ({ master }: World) => (await master.api.nodes())[0]?.state;
const untilBoot = ({ master }: World, boot: number) =>
  until(`boot ${boot} is known`, async () => (await master.api.nodes())[0]?.boot === boot);
const untilQuarantined = (world: World) =>
  until('it is in quarantine', async () => (await stateOf(world)) === 'quarantined');
const untilSuspect = ({ master }: Pick<World, 'master'>) =>
  until('a birth was not believed', () => master.log.entries.some(entry => /is not believed/.test(entry.sentence)));

t.test('an honest board may come back from anywhere while its old connection hangs, and start again', async t => {
  const world = await setUp(t);
  const first = new Board(world.identity, { start: 'one', boot: 1 });
  for (const from of ['127.0.0.1', '127.0.0.2', '127.0.0.1', '127.0.0.2', '127.0.0.1']) {
    t.ok(await first.connect(t, from));
    first.birth();
    await world.clock.advance(confirmAfterMs);
  }
  await untilBoot(world, 1);
  const restarted = new Board(world.identity, { start: 'two', boot: 2 });
  t.ok(await restarted.connect(t));
  restarted.birth();
  await untilBoot(world, 2);
  const forgot = new Board(world.identity, { start: 'three', boot: 2 });
  t.ok(await forgot.connect(t));
  forgot.birth();
  await world.clock.advance(confirmAfterMs);
  forgot.birth();
  const later = new Board(world.identity, { start: 'four', boot: 3 });
  t.ok(await later.connect(t));
  later.birth();
  await untilBoot(world, 3);
  t.equal(await stateOf(world), 'ready');
  t.same(await world.master.api.events('node-quarantined'), []);
  t.match(await world.master.api.told('session-takeover'), [{ node: 'pi-1', message: /127.0.0.1 and 127.0.0.2/ }]);
});

t.test(
  'two boards that take the session from each other are both cut off, with an event that says from where',
  async t => {
    const world = await setUp(t);
    const original = new Board(world.identity, { start: 'original', boot: 7 });
    const copy = new Board(world.identity, { start: 'copy', boot: 8 });
    t.ok(await original.connect(t, '127.0.0.1'));
    original.birth();
    await untilBoot(world, 7);
    t.ok(await copy.connect(t, '127.0.0.2'));
    copy.birth();
    await untilBoot(world, 8);
    t.ok(await original.connect(t, '127.0.0.1'));
    original.birth();
    await untilSuspect(world);
    await world.clock.advance(confirmAfterMs);
    original.birth();
    await untilQuarantined(world);
    await original.cut();
    t.equal(await original.connect(t), false, 'the original is refused');
    t.equal(await copy.connect(t, '127.0.0.2'), false, 'and so is the copy');

    const [event] = await world.master.api.told('node-quarantined');
    t.match(event, {
      node: 'pi-1',
      severity: 'critical',
      message: /boot 8 from 127\.0\.0\.2, boot 7 from 127\.0\.0\.1/,
    });
    t.match((await world.master.api.nodes())[0], { quarantine: /copied card/ });
    const states = (await world.master.api.certificates('pi-1')).map(certificate => certificate.state);
    t.same(new Set(states), new Set(['revoked']));
  },
);

t.test('a card that was restored from a backup is put aside, until it joins with a new key', async t => {
  const world = await setUp(t);
  const { master, clock, identity, board } = world;
  const before = new Board(identity, { start: 'before', boot: 9 });
  t.ok(await before.connect(t));
  before.birth();
  await untilBoot(world, 9);
  const restored = new Board(identity, { start: 'restored', boot: 4 });
  t.ok(await restored.connect(t));
  restored.birth();
  await untilSuspect(world);
  t.equal(await stateOf(world), 'ready', 'one message may have been late');
  await clock.advance(confirmAfterMs);
  restored.birth();
  await untilQuarantined(world);
  t.match(await master.api.told('node-quarantined'), [{ message: /boot counter has gone back/ }]);

  const any = await master.api.joinString();
  await t.rejects(askToJoin(board('card'), any), { code: 'FORBIDDEN', message: /in quarantine.*--node pi-1/ });
  const next = await askToJoin(board('card'), await master.api.joinString({ node: 'pi-1' }));
  t.equal(await restored.connect(t), false, 'the key of before is of no use any more');
  const fresh = new Board(next, { start: 'fresh', boot: 1 });
  t.ok(await fresh.connect(t));
  fresh.birth();
  await untilBoot(world, 1);
  t.equal(await stateOf(world), 'ready');
  t.equal((await master.api.nodes())[0]?.quarantine, undefined);
});

t.test('a quarantine outlives the master', async t => {
  const world = await setUp(t);
  const { master, clock, identity } = world;
  const before = new Board(identity, { start: 'before', boot: 9 });
  t.ok(await before.connect(t));
  before.birth();
  await untilBoot(world, 9);
  await master.stop();

  const next = await runMaster(t, master.config, clock);
  const restored = new Board(identity, { start: 'restored', boot: 4 });
  t.ok(await restored.connect(t));
  restored.birth();
  await untilSuspect({ master: next });
  await clock.advance(confirmAfterMs);
  restored.birth();
  await untilQuarantined({ ...world, master: next });
  await next.stop();

  const last = await runMaster(t, master.config, clock);
  t.equal(await stateOf({ ...world, master: last }), 'quarantined');
  t.equal(await restored.connect(t), false);
  t.equal(await before.connect(t), false);
});

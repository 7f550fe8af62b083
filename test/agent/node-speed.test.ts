import t, { type Test } from 'tap';
import { openNodeSpeed } from '../../src/agent/node-speed.ts';
import { silentLog } from '../../src/base/log.ts';
import { systemClock } from '../../src/device/clock.ts';
import { openFiles } from '../../src/device/files.ts';
import { unknownBoard } from '../../src/device/profiles.ts';
import { measureRates, type SpeedRates, speedOf, unitRates } from '../../src/device/speed.ts';
import type { Inventory } from '../../src/model/profile.ts';

const inventory: Inventory = {
  arch: 'arm64',
  cpuModel: 'ARM BCM2711',
  cpuCount: 4,
  memoryMb: 1845,
  deviceTreeModel: 'Raspberry Pi Compute Module 4 Rev 1.0',
  dmiProduct: '',
  virtual: false,
  os: 'Debian GNU/Linux 12',
  kernel: '6.6.31',
};
const twice: SpeedRates = {
  integer: unitRates.integer * 2,
  memory: unitRates.memory * 2,
  crypto: unitRates.crypto * 2,
};
const signal = new AbortController().signal;

/** A node whose measurements are counted, each start of it with what the one before left on the disk. */
function node(t: Test, fails = false) {
  const directory = t.testdir();
  let measured = 0;
  return {
    count: () => measured,
    async open(changes: Partial<Inventory> = {}, told?: number) {
      const board = { inventory: { ...inventory, ...changes }, profile: unknownBoard };
      const measure = async () => {
        measured++;
        if (fails) throw new Error('no process');
        return twice;
      };
      const files = await openFiles(directory);
      return openNodeSpeed({ files, log: silentLog, measureRates: measure }, board, told);
    },
  };
}

t.test('a node is measured once, and again with another kernel or on another board', async t => {
  const { open, count } = node(t);
  const first = await open();
  t.equal(first.value, undefined);
  t.equal(await first.measure(signal), true);
  t.equal(first.value, 2);
  t.equal(await first.measure(signal), false);
  const second = await open();
  t.equal(second.value, 2);
  t.equal(await second.measure(signal), false);
  t.equal(count(), 1);
  t.equal((await open({ kernel: '6.12.0' })).value, undefined);
  t.equal((await open({ cpuModel: 'ARM BCM2712' })).value, undefined);
});

t.test("an operator's word is not measured", async t => {
  const { open, count } = node(t);
  const speed = await open({}, 0.5);
  t.equal(await speed.measure(signal), false);
  t.equal(speed.value, 0.5);
  t.equal(count(), 0);
});

t.test('a node that cannot be measured is asked again at the next start', async t => {
  const { open, count } = node(t, true);
  for (const starts of [1, 2]) {
    const speed = await open();
    t.equal(await speed.measure(signal), false);
    t.equal(speed.value, undefined);
    t.equal(count(), starts);
  }
});

t.test('the speed is the geometric mean of the rates, in steps that equal boards share', async t => {
  t.equal(speedOf(unitRates), 1);
  t.equal(speedOf(twice), 2);
  t.equal(speedOf({ ...unitRates, integer: unitRates.integer * 8 }), 2);
  t.equal(speedOf({ ...twice, memory: twice.memory * 1.05 }), 2);
  t.equal(speedOf({ integer: 1e-9, memory: 1e-9, crypto: 1e-9 }), 0.01);
  t.equal(speedOf({ integer: 1e9, memory: 1e9, crypto: 1e9 }), 100);
});

t.test('this machine is measured in a process of its own', async t => {
  const rates = await measureRates(systemClock, signal);
  t.ok(rates.integer > 0 && rates.memory > 0 && rates.crypto > 0, JSON.stringify(rates));
  await t.rejects(measureRates(systemClock, AbortSignal.abort()));
});

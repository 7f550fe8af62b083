import { arch, availableParallelism } from 'node:os';
import t from 'tap';
import { decode } from '../../src/base/shape.ts';
import { checkInventory, isVirtual, type RawInventory, readInventory } from '../../src/device/inventory.ts';
import { inventorySchema } from '../../src/model/profile.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const raw: RawInventory = {
  arch: 'arm64',
  cpuModel: 'Cortex-A72',
  cpuCount: 4,
  memoryBytes: 4 * 1024 ** 3,
  deviceTreeModel: 'Raspberry Pi 4 Model B Rev 1.5\0',
  dmiProduct: '',
  virtual: false,
  os: 'Debian GNU/Linux 13',
  kernel: '6.12.0',
};
const here = { cores: 4, memoryBytes: 4 * 1024 ** 3 };

t.test('this machine says what it is', async t => {
  const { inventory, isPartial } = await readInventory({ timeoutMs: 100_000 });
  t.strictSame(decode(inventorySchema, inventory, 'inventory'), inventory);
  t.equal(isPartial, undefined);
  t.equal(inventory.arch, arch());
  t.equal(inventory.cpuCount, availableParallelism());
  t.ok(inventory.memoryMb > 64);
  t.ok(inventory.os.length > 0 && inventory.kernel.length > 0);
});

t.test('the model comes from the device tree of the board', async t => {
  const root = t.testdir({ proc: { 'device-tree': { model: 'Raspberry Pi 5 Model B Rev 1.0\0' } } });
  t.equal((await readInventory({ root })).inventory.deviceTreeModel, 'Raspberry Pi 5 Model B Rev 1.0');
  const cpuinfo = 'processor\t: 0\nmodel\t\t: 1\n\nRevision\t: c03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n';
  const container = t.testdir({ proc: { cpuinfo, 'device-tree': {} } });
  t.equal((await readInventory({ root: container })).inventory.deviceTreeModel, 'Raspberry Pi 4 Model B Rev 1.4');
});

t.test('a virtual machine is one by its processor, or by what its firmware calls it', async t => {
  t.ok(isVirtual('processor\t: 0\nflags\t\t: fpu apic hypervisor lahf_lm\n', ''));
  t.notOk(isVirtual('flags\t\t: fpu apic\nbugs\t\t: no hypervisor\n', 'Dell Inc. Edge Gateway 3001'));
  const virtual = [
    'QEMU QEMU Virtual Machine',
    'Amazon EC2 c7g.large',
    'Google Google Compute Engine',
    'linux,dummy-virt',
  ];
  for (const machine of virtual) t.ok(isVirtual('', machine), machine);
  t.notOk(isVirtual('', 'Amazon EC2 c7g.metal'));
});

t.test('a board whose tools give no answer is described by what Node sees', async t => {
  const clock = new FakeClock();
  const reading = readInventory({ clock, timeoutMs: 0, root: t.testdir() });
  await clock.untilSleeping(1);
  await clock.advance(0);
  const { inventory, warnings, isPartial } = await reading;
  t.equal(inventory.cpuCount, availableParallelism());
  t.ok(inventory.memoryMb > 64);
  t.match(warnings, [/^what the board is was not told in time/]);
  t.equal(isPartial, true, 'so that nobody keeps it');
});

t.test('a board without cores or memory is a lie that is noticed', async t => {
  const { inventory, warnings } = checkInventory({ ...raw, cpuCount: 0, memoryBytes: 0 }, here);
  t.match(inventory, { cpuCount: 4, memoryMb: 4096 });
  t.strictSame(warnings, [
    'the system says 0 cores, which cannot be: 4 is used',
    'the system says 0 MB of memory, which cannot be: 4096 is used',
  ]);
});

t.test('when nobody knows better the least is assumed', async t => {
  const nothing = { cores: 0, memoryBytes: Number.NaN };
  const { inventory, warnings } = checkInventory({ ...raw, cpuCount: Number.NaN, memoryBytes: 2 ** 70 }, nothing);
  t.match(inventory, { cpuCount: 1, memoryMb: 128 });
  t.equal(warnings.length, 2);
});

t.test('an agent that is given fewer cores than the board has counts those', async t => {
  const { inventory, warnings } = checkInventory({ ...raw, cpuCount: 8 }, { ...here, cores: 2 });
  t.equal(inventory.cpuCount, 2);
  t.strictSame(warnings, []);
});

t.test('what firmware pads its words with is taken off', async t => {
  const { inventory } = checkInventory({ ...raw, dmiProduct: '  ACME\u0000  Box\n'.padEnd(400, 'x') }, here);
  t.equal(inventory.deviceTreeModel, 'Raspberry Pi 4 Model B Rev 1.5');
  t.match(inventory.dmiProduct, /^ACME Box/);
  t.equal(inventory.dmiProduct.length, 200);
});

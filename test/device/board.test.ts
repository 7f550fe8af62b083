import t from 'tap';
import { readBoard } from '../../src/device/board.ts';
import { readInventory } from '../../src/device/inventory.ts';

const arm = (...parts: readonly string[]) =>
  parts
    .map((part, i) => `processor\t: ${i}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: ${part}\n\n`)
    .join('');
const x86 = (name: string, flags = 'fpu vme sse2') =>
  `processor\t: 0\nmodel name\t: ${name}\nflags\t\t: ${flags}\n\nprocessor\t: 1\nmodel name\t: ${name}\nflags\t\t: ${flags}\n`;
const meminfo = 'MemTotal:        3884376 kB\nMemFree:          100 kB\n';
const osRelease =
  'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\nVERSION="12 (bookworm)"\n';
const ubuntu = 'NAME="Ubuntu"\nVERSION_ID="22.04"\nVERSION="22.04.4 LTS (Jammy Jellyfish)"\n';

t.test('a board is known by the files of its kernel', async t => {
  const root = t.testdir({
    proc: {
      cpuinfo: arm('0xd08', '0xd08', '0xd08', '0xd08'),
      meminfo,
      'device-tree': { compatible: 'raspberrypi,4-model-b\0brcm,bcm2711\0', model: 'Raspberry Pi 4 Model B Rev 1.5\0' },
    },
    etc: { 'os-release': osRelease },
  });
  const { inventory, warnings } = await readInventory({ root });
  t.match(inventory, {
    cpuModel: 'ARM BCM2711',
    memoryMb: 3793,
    deviceTreeModel: 'Raspberry Pi 4 Model B Rev 1.5',
    dmiProduct: '',
    virtual: false,
    os: 'Debian GNU/Linux 12',
  });
  t.strictSame(warnings, []);
  t.match(readBoard(root), { cpuCount: 4, memoryBytes: 3884376 * 1024 });
});

t.test('a processor is called as its maker does', async t => {
  const table: readonly (readonly [string, string, string?])[] = [
    [x86('Intel(R) N100'), 'Intel N100'],
    [x86('Intel(R) Atom(TM) CPU E3805 @ 1.33GHz'), 'Intel Atom E3805'],
    [x86('Intel(R) Celeron(R) J4125 CPU @ 2.00GHz'), 'Intel Celeron J4125'],
    [x86('AMD EPYC 7B13 64-Core Processor'), 'AMD EPYC 7B13'],
    [arm('0xd03', '0xd03', '0xd08'), 'ARM Cortex-A72'],
    [arm('0xfff'), 'rockchip,rk9999', 'rockchip,rk9999\0'],
    [
      'processor\t: 0\nmodel name\t: ARMv7 Processor rev 2 (v7l)\nCPU implementer\t: 0x41\nCPU part\t: 0xc08\n',
      'ARM Cortex-A8',
    ],
    ['processor\t: 0\nuarch\t: sifive,u74-mc\n', 'sifive,u74-mc'],
  ];
  for (const [cpuinfo, name, compatible = ''] of table) {
    const root = t.testdir({ proc: { cpuinfo, meminfo, 'device-tree': { compatible } } });
    t.equal((await readInventory({ root })).inventory.cpuModel, name);
  }
});

t.test('a machine that is none is seen', async t => {
  const proc = { cpuinfo: x86('AMD EPYC'), meminfo };
  const dmi = (sys_vendor: string, product_name: string) => ({
    class: { dmi: { id: { sys_vendor: `${sys_vendor}\n`, product_name: `${product_name}\n` } } },
  });
  const seen = (files: object) => readBoard(t.testdir({ proc, ...files }));
  t.equal(seen({})?.virtual, false);
  t.match(seen({ sys: dmi('Dell Inc.', 'OptiPlex 7070') }), { virtual: false, dmiProduct: 'Dell Inc. OptiPlex 7070' });
  t.equal(seen({ sys: dmi('QEMU', 'Standard PC (Q35 + ICH9, 2009)') })?.virtual, true);
  t.equal(seen({ sys: dmi('Microsoft Corporation', 'Virtual Machine') })?.virtual, true);
  t.equal(seen({ proc: { ...proc, cpuinfo: x86('AMD EPYC', 'fpu hypervisor lahf_lm') } })?.virtual, true);
  t.equal(seen({ '.dockerenv': '' })?.virtual, true);
});

t.test('a system says its name and its version', async t => {
  const os = (files: object) => readBoard(t.testdir({ proc: { cpuinfo: arm('0xd03'), meminfo }, ...files }))?.os;
  t.equal(os({ etc: { 'os-release': ubuntu } }), 'Ubuntu 22.04.4 LTS');
  t.equal(os({ usr: { lib: { 'os-release': 'NAME=Alpine\nVERSION_ID=3.20\n' } } }), 'Alpine 3.20');
  t.equal(os({}), 'Linux');
});

t.test('another system than Linux is asked in another way', async t => {
  t.equal(readBoard(t.testdir({})), undefined);
});

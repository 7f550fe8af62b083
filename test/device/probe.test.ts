import { writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { decode } from '../../src/base/shape.ts';
import { capacityOf, freePorts } from '../../src/device/capacity.ts';
import { systemClock } from '../../src/device/clock.ts';
import { readDisk } from '../../src/device/disk.ts';
import { openProbe } from '../../src/device/probe.ts';
import { unknownBoard } from '../../src/device/profiles.ts';
import { type Inventory, usageSchema } from '../../src/model/profile.ts';
import { countInRanges, resourcesSchema } from '../../src/model/resources.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const inventory: Inventory = {
  arch: 'arm64',
  cpuModel: '',
  cpuCount: 4,
  memoryMb: 1_000,
  deviceTreeModel: '',
  dmiProduct: '',
  virtual: false,
  os: '',
  kernel: '',
};

t.test('this machine is in use', async t => {
  const probe = openProbe({ clock: systemClock }, { dataDirectory: t.testdir(), diskSampleMs: 60_000 });
  t.teardown(() => probe.close());
  const usage = await probe.sample();
  t.strictSame(decode(usageSchema, usage, 'usage'), usage);
  t.ok(usage.memUsedMb > 0 && usage.diskUsedMb > 0);
  // an emulator of processors does not know it
  t.ok(usage.agentRssMb > 10 || process.memoryUsage.rss() === 0);
  t.ok(usage.cpu >= 0 && usage.cpu <= 1);
});

t.test('a sample is over the time since the one before', async t => {
  const root = t.testdir({
    proc: {
      stat: 'cpu  100 0 0 900 0 0 0 0\n',
      meminfo: 'MemTotal: 1024000 kB\nMemAvailable: 256000 kB\n',
      loadavg: '1.50 0.10 0.05 1/92 679\n',
    },
    sys: { class: { thermal: { thermal_zone0: { type: 'cpu-thermal', temp: '48312' } } } },
  });
  const probe = openProbe({ clock: new FakeClock() }, { dataDirectory: root, diskSampleMs: 60_000, root });
  t.teardown(() => probe.close());
  writeFileSync(join(root, 'proc/stat'), 'cpu  175 0 0 925 0 0 0 0\n');
  t.match(await probe.sample(), { cpu: 0.75, memUsedMb: 750, load1: 1.5, temperatureC: 48.3 });
  writeFileSync(join(root, 'proc/stat'), 'cpu  185 0 0 1015 0 0 0 0\n');
  t.match(await probe.sample(), { cpu: 0.1 });
});

t.test('where there is no /proc the same is read through systeminformation', async t => {
  const root = t.testdir();
  const probe = openProbe({ clock: new FakeClock() }, { dataDirectory: root, diskSampleMs: 60_000, root });
  const usage = await probe.sample();
  t.strictSame(decode(usageSchema, usage, 'usage'), usage);
  t.ok(usage.memUsedMb > 0);
  probe.close();
});

t.test('what a node gives is what it has less what its profile keeps', async t => {
  const ports = [{ begin: 31_000, end: 31_099 }];
  const { total, warnings } = capacityOf(inventory, unknownBoard, { usedMb: 1, freeMb: 1_256.7 }, { ports });
  t.strictSame(total, {
    scalars: { cpus: 3_800, mem: 872_000, disk: 1_000_000 },
    ranges: { ports },
    sets: {},
  });
  t.strictSame(warnings, []);
  decode(resourcesSchema, total, 'total');
});

t.test('a node that has nothing to give says so and gives nothing', async t => {
  const { total, warnings } = capacityOf({ ...inventory, memoryMb: 100 }, unknownBoard, undefined, {});
  t.match(total.scalars, { mem: 0, disk: 0 });
  t.strictSame(warnings, [
    'no MB of memory to give: the node has 100, profile unknown-board keeps 128',
    'no MB of disk to give: the node has 0, profile unknown-board keeps 256',
  ]);
});

t.test('the disk is that of the directory, and a directory that is not there has none', async t => {
  const disk = readDisk(t.testdir());
  t.ok(disk !== undefined && disk.freeMb > 0);
  t.equal(readDisk('no/such/directory'), undefined);
});

t.test('ports that somebody listens to are not free, but for those of own tasks', async t => {
  const server = createServer();
  const port = await listen(server);
  t.teardown(() => server.close());
  const ranges = [{ begin: port, end: port }];
  t.strictSame(await freePorts(ranges), []);
  t.strictSame(await freePorts(ranges, new Set([port])), ranges);
  const root = t.testdir();
  t.strictSame(await freePorts(ranges, new Set(), root), [], 'without /proc it is tried out');
});

t.test('no more ports are handed out than the bound', async t => {
  const root = t.testdir({ proc: { net: { tcp: '' } } });
  const free = await freePorts(
    [
      { begin: 10_000, end: 60_000 },
      { begin: 1, end: 10 },
    ],
    new Set(),
    root,
  );
  t.equal(countInRanges(free), 4_096);
});

function listen(server: Server): Promise<number> {
  return new Promise(resolve => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { readMetered, readNetwork } from '../../src/device/network.ts';

const route4 = (name: string, metric: number) =>
  `${name}\t00000000\t0100000A\t0003\t0\t0\t${metric}\t00000000\t0\t0\t0`;
const head = 'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT';

/** A gateway with a modem, a cable, wireless, a bridge and what is always there. */
function board(t: Test, { route = '', route6 = '' } = {}): string {
  const device = (more: object) => ({ operstate: 'up\n', type: '1\n', uevent: 'INTERFACE=x\n', ...more });
  const root = t.testdir({
    devices: {
      lo: device({ type: '772\n', operstate: 'unknown\n' }),
      eth0: device({}),
      eth1: device({ operstate: 'down\n' }),
      wlan0: device({ wireless: {}, uevent: 'DEVTYPE=wlan\nINTERFACE=wlan0\n' }),
      wwan0: device({ type: '519\n', operstate: 'unknown\n', uevent: 'DEVTYPE=wwan\n' }),
      virtual: {},
    },
    sys: { class: { net: {} }, devices: { virtual: { br0: device({}) } } },
    proc: { net: { route: [head, route, ''].join('\n'), ipv6_route: route6 } },
  });
  const link = (from: string, name: string) => symlinkSync(join(root, from), join(root, 'sys/class/net', name));
  for (const name of ['lo', 'eth0', 'eth1', 'wlan0', 'wwan0']) link(`devices/${name}`, name);
  link('sys/devices/virtual/br0', 'br0');
  return root;
}

t.test('the ways out are told, with what they are, and the one to everywhere first', async t => {
  const half = route4('tun0', 0).replace(/00000000(?=\t0\t0\t0$)/, '00000080');
  const network = readNetwork(board(t, { route: [half, route4('eth0', 600), route4('wwan0', 100)].join('\n') }));
  t.same(network, [
    { name: 'wwan0', kind: 'mobile', isDefault: true },
    { name: 'eth0', kind: 'ethernet' },
    { name: 'wlan0', kind: 'wifi' },
  ]);
  t.equal(await readMetered(network), true, 'a mobile network is paid for by the byte');
});

t.test('a network of IPv6 alone has a default route, too', async t => {
  const zeros = '0'.repeat(32);
  const route6 = [
    `${zeros} 00 ${zeros} 00 ${zeros} ffffffff 00000001 00000000 00200200       lo`,
    `${zeros} 00 ${zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0`,
  ].join('\n');
  const network = readNetwork(board(t, { route6 }));
  t.match(network[0], { name: 'eth0', isDefault: true });
  t.equal(await readMetered(network), false);
});

t.test('a machine without a network has no way out, and nothing to pay for', async t => {
  t.same(readNetwork(t.testdir()), []);
  t.equal(await readMetered([]), false);
});

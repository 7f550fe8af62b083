import t from 'tap';
import { ownAddresses } from '../../src/device/addresses.ts';

const shared = { netmask: '', mac: '', cidr: null };
const ipv4 = (address: string, internal = false) => ({ ...shared, address, internal, family: 'IPv4' as const });
const ipv6 = (address: string, internal = false) => ({
  ...shared,
  address,
  internal,
  family: 'IPv6' as const,
  scopeid: 0,
});

t.test(
  'others reach a node by IPv4, or by IPv6 where it has nothing else, never by what means something on one link alone',
  async t => {
    const lo = [ipv4('127.0.0.1', true), ipv6('::1', true)];
    t.same(ownAddresses({ lo }), ['127.0.0.1']);
    t.same(ownAddresses({ lo, eth0: [ipv6('fe80::1'), ipv6('fd00::7'), ipv4('10.0.0.7')] }), ['10.0.0.7']);
    t.same(ownAddresses({ lo, eth0: [ipv6('fe80::1'), ipv6('fd00::7')] }), ['fd00::7']);
    t.same(ownAddresses({ lo, eth0: [ipv6('fe80::1'), ipv6('febf::1')] }), ['127.0.0.1']);
  },
);

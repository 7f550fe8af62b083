import { BlockList } from 'node:net';
import fc from 'fast-check';
import t from 'tap';
import { contains, matchesText, parseAddress, parseCidr, parseTextMatch } from '../../src/base/match.ts';

t.test('a text matches exactly, by prefix, by suffix, or by not being empty', async t => {
  const cases: [string, string | undefined, boolean][] = [
    ['abc', 'abc', true],
    ['abc', 'abcd', false],
    ['abc*', 'abc', true],
    ['abc*', 'abcd', true],
    ['abc*', 'xabc', false],
    ['*abc', 'abc', true],
    ['*abc', 'xabc', true],
    ['*abc', 'abcx', false],
    ['*', 'x', true],
    ['*', '', false],
    ['*', undefined, false],
    ['abc', undefined, false],
    ['a*c', 'abc', false],
    ['a*c', 'a*c', true],
    ['*b*', 'ab*', true],
    ['*b*', 'abc', false],
    ['**', 'x*', true],
    ['ABC', 'abc', false],
  ];
  for (const [pattern, value, expected] of cases) {
    t.equal(matchesText(parseTextMatch(pattern), value), expected, `${pattern} ${value}`);
  }
});

t.test('without regard to case when asked', async t => {
  t.equal(matchesText(parseTextMatch('Web.Shop', true), 'WEB.shop'), true);
  t.equal(matchesText(parseTextMatch('Web*', true), 'wEB.shop'), true);
  t.equal(matchesText(parseTextMatch('*SHOP', true), 'web.Shop'), true);
});

t.test('blocks of addresses contain what they should', async t => {
  const cases: [string, string, boolean][] = [
    ['10.1.0.0/16', '10.1.255.255', true],
    ['10.1.0.0/16', '10.2.0.0', false],
    ['10.1.2.3/16', '10.1.0.0', true],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.2', false],
    ['0.0.0.0/0', '255.255.255.255', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '10.0.0.1', false],
    ['::/0', 'fe80::1', true],
    ['128.0.0.0/1', '200.0.0.1', true],
    ['128.0.0.0/1', '100.0.0.1', false],
    ['fd00::/8', 'fdff:1::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['2001:db8::/33', '2001:db8:7fff::', true],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['10.0.0.0/8', '::ffff:10.9.9.9', true],
    ['10.0.0.0/8', '::ffff:a09:909', true],
    ['::ffff:10.0.0.0/104', '10.9.9.9', true],
    ['::1', '0:0:0:0:0:0:0:1', true],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304', true],
  ];
  for (const [block, address, expected] of cases) {
    const [cidr, ip] = [parseCidr(block), parseAddress(address)];
    if ('reason' in cidr || 'reason' in ip) t.fail(`${block} ${address}: not read`);
    else t.equal(contains(cidr, ip), expected, `${block} ${address}`);
  }
});

t.test('what is no address or block gives the reason', async t => {
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '256.1.1.1',
    '01.2.3.4',
    '1.2.3.4 ',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
  ]) {
    t.match(parseAddress(text), { reason: /^expected an IP address, got / }, text);
  }
  for (const text of [
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '12345::',
    'g::',
    '1.2.3.4::',
    'fe80::1%eth0',
    '::1.2.3',
    '[::1]',
  ]) {
    t.match(parseAddress(text), { reason: /^expected an IP address, got / }, text);
  }
  for (const text of ['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/08', '10.0.0.0/-1', '::/129', '10.0.0.0/8/8']) {
    t.match(parseCidr(text), { reason: /^expected a prefix length of 0 to / }, text);
  }
  t.match(parseCidr('::ffff:0.0.0.0/95'), { reason: /IPv4-mapped/ });
});

t.test('an address is contained where the network stack says so', async () => {
  const v4 = fc.ipV4();
  const v6 = fc.ipV6().filter(text => !/^::ffff:|^0*:0*:0*:0*:0*:0*ffff:/i.test(text));
  const pair = fc.oneof(
    fc.record({ base: v4, address: v4, bits: fc.nat(32), type: fc.constant('ipv4' as const) }),
    fc.record({ base: v6, address: v6, bits: fc.nat(128), type: fc.constant('ipv6' as const) }),
  );
  fc.assert(
    fc.property(pair, fc.nat(128), ({ base, address, bits, type }, near) => {
      const list = new BlockList();
      list.addSubnet(base, bits, type);
      const cidr = parseCidr(`${base}/${bits}`);
      for (const text of [address, near % 2 === 0 ? base : address]) {
        const ip = parseAddress(text);
        if ('reason' in cidr || 'reason' in ip) throw new Error(`${base} ${text}: not read`);
        if (contains(cidr, ip) !== list.check(text, type)) throw new Error(`${base}/${bits} ${text}`);
      }
    }),
    { seed: 9, numRuns: 3000 },
  );
});

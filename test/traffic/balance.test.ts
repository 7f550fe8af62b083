import fc from 'fast-check';
import t from 'tap';
import { secondMs } from '../../src/base/clock.ts';
import { type Random, seededRandom } from '../../src/base/random.ts';
import { type Balancing, makeBalancer } from '../../src/traffic/balance.ts';

interface TestHost {
  key: string;
  weight: number;
  active: number;
  available: boolean;
  joinedAt: number;
}

const hosts = (...weights: number[]): TestHost[] =>
  weights.map((weight, i) => ({ key: `host-${i}`, weight, active: 0, available: true, joinedAt: 0 }));
const equal = (count: number) => hosts(...Array.from({ length: count }, () => 1));

const kinds: readonly Balancing[] = [
  { kind: 'ROUND_ROBIN' },
  { kind: 'LEAST_REQUEST' },
  { kind: 'RANDOM' },
  { kind: 'RING_HASH', minimumSize: 1024 },
  { kind: 'MAGLEV', tableSize: 251 },
];

/** How often each host is picked; `take` sees each pick. */
function picks(
  balancing: Balancing,
  list: readonly TestHost[],
  count: number,
  {
    random = seededRandom(1),
    now = 1e6,
    take = () => {},
  }: { random?: Random; now?: number; take?: (host: TestHost) => void } = {},
): number[] {
  const balancer = makeBalancer(balancing, list, random);
  const picked = list.map(() => 0);
  for (let i = 0; i < count; i++) {
    const at = balancer.pick(now, -1);
    picked[at] = (picked[at] ?? 0) + 1;
    const host = list[at];
    if (host !== undefined) take(host);
  }
  return picked;
}

t.test('of two draws the less busy host is taken, so that 1000 requests on 10 hosts lie close together', async t => {
  const list = equal(10);
  picks({ kind: 'LEAST_REQUEST' }, list, 1000, { take: host => host.active++ });
  const loads = list.map(host => host.active);
  t.ok(Math.max(...loads) - Math.min(...loads) <= 8, loads.join(' '));
});

t.test('a host ten times as slow gets less than a third of its turn', async t => {
  const list = equal(3);
  const balancer = makeBalancer({ kind: 'LEAST_REQUEST' }, list, seededRandom(2));
  const ends = new Map<number, TestHost[]>();
  const picked = [0, 0, 0];
  for (let now = 0; now < 9000; now++) {
    for (const host of ends.get(now) ?? []) host.active--;
    const at = balancer.pick(now, -1);
    const host = list[at];
    if (host === undefined) throw new Error('no host');
    host.active++;
    picked[at] = (picked[at] ?? 0) + 1;
    const end = now + (at === 0 ? 100 : 10);
    ends.set(end, [...(ends.get(end) ?? []), host]);
  }
  t.ok((picked[0] ?? 0) < 1000, picked.join(' '));
});

t.test('an unavailable host is never picked, and none is when all are', async t => {
  for (const weights of [
    [1, 1, 1, 1, 1],
    [1, 2, 3, 4, 5],
  ]) {
    for (const balancing of kinds) {
      const list = hosts(...weights);
      for (const [i, host] of list.entries()) host.available = i === 3;
      const balancer = makeBalancer(balancing, list, seededRandom(3));
      for (let hash = -1; hash < 100; hash++) t.equal(balancer.pick(0, hash), 3, balancing.kind);
      for (const host of list) host.available = false;
      t.equal(balancer.pick(0, -1), -1);
      t.equal(balancer.pick(0, 5), -1);
      t.equal(makeBalancer(balancing, [], seededRandom(3)).pick(0, 5), -1);
    }
  }
});

t.test('round robin goes through the hosts in turn, from a random one', async t => {
  const balancer = makeBalancer({ kind: 'ROUND_ROBIN' }, equal(3), () => 0.5);
  t.same(
    [0, 1, 2, 3, 4].map(() => balancer.pick(0, -1)),
    [1, 2, 0, 1, 2],
  );
});

t.test('round robin keeps to weights at every moment, not only on average', async () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 2, maxLength: 12 }),
      fc.nat(),
      (weights, seed) => {
        const list = hosts(...weights);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const balancer = makeBalancer({ kind: 'ROUND_ROBIN' }, list, seededRandom(seed));
        const picked = weights.map(() => 0);
        for (let i = 1; i <= 300; i++) {
          const at = balancer.pick(0, -1);
          picked[at] = (picked[at] ?? 0) + 1;
          const isFair = weights.every(
            (weight, k) => Math.abs((picked[k] ?? 0) - (i * weight) / total) <= weights.length,
          );
          if (!isFair) return false;
        }
        return true;
      },
    ),
    { seed: 5, numRuns: 300 },
  );
});

t.test('random heeds weights', async t => {
  const [a = 0, b = 0] = picks({ kind: 'RANDOM' }, hosts(1, 3), 8000);
  t.ok(b > 0.73 * 8000 && b < 0.77 * 8000, `${a} ${b}`);
});

t.test('with weights a busy host has its turn less often', async t => {
  const list = hosts(2, 1);
  for (const host of list) host.active = host.weight === 2 ? 9 : 0;
  // effective weights are 0.2 and 1
  const [busy = 0] = picks({ kind: 'LEAST_REQUEST' }, list, 6000);
  t.ok(busy > 900 && busy < 1100, String(busy));
  for (const host of list) host.active = 0;
  const [idle = 0] = picks({ kind: 'LEAST_REQUEST' }, list, 6000);
  t.ok(idle > 3900 && idle < 4100, String(idle));
});

t.test('a host that has just joined gets its share little by little', async t => {
  const slowStart = { windowMs: 60 * secondMs, minPercent: 10, aggression: 1 };
  for (const kind of ['ROUND_ROBIN', 'LEAST_REQUEST'] as const) {
    const share = (ageMs: number) => {
      const list = equal(2);
      for (const [i, host] of list.entries()) host.joinedAt = i === 0 ? -1e9 : 0;
      const [, young = 0] = picks({ kind, slowStart }, list, 6000, { now: ageMs });
      return Math.round((1000 * young) / 6000);
    };
    t.match(share(0), 91, 'a tenth of the weight: 0.1 of 1.1');
    t.match(share(30 * secondMs), 333, 'half of it: 0.5 of 1.5');
    t.ok(Math.abs(share(60 * secondMs) - 500) < 25, 'all of it');
  }
});

t.test('without a hash a request goes anywhere', async t => {
  for (const balancing of kinds.slice(3)) {
    const picked = picks(balancing, equal(4), 4000);
    for (const count of picked) t.ok(count > 800 && count < 1200, picked.join(' '));
  }
});

t.test(
  'the turns of an unavailable host are shared by all others, and it has none to catch up with when it is back',
  async t => {
    for (const kind of ['ROUND_ROBIN', 'LEAST_REQUEST'] as const) {
      const list = hosts(100, 1, 1, 2);
      const balancer = makeBalancer({ kind }, list, seededRandom(11));
      const share = (count: number) => {
        const picked = list.map(() => 0);
        for (let i = 0; i < count; i++) {
          const at = balancer.pick(0, -1);
          picked[at] = (picked[at] ?? 0) + 1;
        }
        return picked;
      };
      share(500);
      const [heavy] = list;
      if (heavy === undefined) throw new Error('no host');
      heavy.available = false;
      const without = share(4000);
      t.same(
        without.map(count => Math.round(count / 100)),
        [0, 10, 10, 20],
        kind,
      );
      heavy.available = true;
      const back = share(1040);
      t.ok((back[3] ?? 0) >= 18, `${kind}: ${back.join(' ')}`);
    }
  },
);

t.test('of few available hosts among many each is as likely as any other', async t => {
  const list = equal(100);
  for (const [i, host] of list.entries()) host.available = i === 0 || i === 1 || i === 60;
  for (const balancing of [{ kind: 'RANDOM' }, { kind: 'LEAST_REQUEST' }, kinds[3]] as const) {
    const picked = picks(balancing ?? { kind: 'RANDOM' }, list, 6000);
    for (const i of [0, 1, 60]) t.ok(Math.abs((picked[i] ?? 0) - 2000) < 200, `${balancing?.kind}: ${picked[i]}`);
  }
});

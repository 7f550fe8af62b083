import fc from 'fast-check';
import t from 'tap';
import { seededRandom } from '../../src/base/random.ts';
import { maxTableEntries } from '../../src/model/destination-rule.ts';
import type { Candidate } from '../../src/traffic/candidate.ts';
import { hash32 } from '../../src/traffic/hash.ts';
import { type HashTable, Maglev, Ring } from '../../src/traffic/hash-table.ts';

interface TestHost extends Candidate {
  available: boolean;
}

function hosts(weights: readonly number[], prefix = 'host'): TestHost[] {
  return weights.map((weight, i) => ({ key: `${prefix}-${i}`, weight, active: 0, available: true, joinedAt: 0 }));
}

const equal = (count: number) => hosts(Array.from({ length: count }, () => 1));
const keys = Array.from({ length: 20_000 }, (_, i) => hash32(`user-${i}`));
const ring = (list: readonly TestHost[]) => new Ring(list, 1024);
const maglev = (list: readonly TestHost[]) => new Maglev(list, 65_537);
const both: readonly (readonly [string, (list: readonly TestHost[]) => HashTable])[] = [
  ['ring', ring],
  ['maglev', maglev],
];

/** The key of the host that each hash goes to. */
function owners(table: HashTable, list: readonly TestHost[]): (string | undefined)[] {
  return keys.map(key => list[table.find(key, list)]?.key);
}

function shares(table: HashTable, list: readonly TestHost[]): number[] {
  const counts = list.map(() => 0);
  for (const key of keys) {
    const at = table.find(key, list);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts.map(count => count / keys.length);
}

t.test('the hash is MurmurHash3', async t => {
  // the reference implementation's own answers
  t.equal(hash32(''), 0);
  t.equal(hash32('', 1), 0x514e28b7);
  t.equal(hash32('test'), 0xba6bd213);
  t.equal(hash32('Hello, world!'), 0xc0363e43);
  t.equal(hash32('The quick brown fox jumps over the lazy dog'), 0x2e4ff723);
});

t.test('in Maglev a host of weight 1 and one of weight 2 have 21846 and 43691 of 65537 entries', async t => {
  const counts = [0, 0];
  for (const host of maglev(hosts([1, 2])).entries) counts[host] = (counts[host] ?? 0) + 1;
  t.same(counts, [21_846, 43_691]);
});

t.test('every host of a Maglev table has an entry, however light it is', async () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 40 }), weights => {
      const { entries } = new Maglev(hosts(weights), 251);
      return entries.length === 251 && new Set(entries).size === weights.length;
    }),
    { seed: 1, numRuns: 200 },
  );
});

t.test('a Maglev table is the one that turns give, by their definition', async () => {
  /** Section 3.4 as it is written: in each turn every host is asked. */
  const byTurns = (list: readonly TestHost[], size: number) => {
    const table = new Array<number>(size).fill(-1);
    const heaviest = Math.max(...list.map(({ weight }) => weight));
    const states = list.map(({ key }) => ({
      place: hash32(key) % size,
      step: 1 + (hash32(key, 1) % (size - 1)),
      target: 0,
    }));
    for (let turn = 1; table.includes(-1); turn++) {
      for (const [i, state] of states.entries()) {
        if (turn * (list[i]?.weight ?? 0) < state.target || !table.includes(-1)) continue;
        state.target += heaviest;
        while (table[state.place] !== -1) state.place = (state.place + state.step) % size;
        table[state.place] = i;
      }
    }
    return table;
  };
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 65_535 }), { minLength: 1, maxLength: 40 }), weights => {
      const list = hosts(weights);
      return [...new Maglev(list, 251).entries].join() === byTurns(list, 251).join();
    }),
    { seed: 1, numRuns: 100 },
  );
});

t.test('shares follow weights', async t => {
  for (const [name, make] of both) {
    for (const weights of [
      [1, 1, 1, 1, 1],
      [1, 2, 3],
      [10, 90],
    ]) {
      const list = hosts(weights);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      for (const [i, share] of shares(make(list), list).entries()) {
        const wanted = (weights[i] ?? 0) / total;
        // a ring of 1024 places is uneven by its nature
        const tolerance = name === 'ring' ? 0.25 : 0.05;
        t.ok(Math.abs(share - wanted) <= tolerance * wanted + 0.01, `${name} ${weights}: ${share} for ${wanted}`);
      }
    }
  }
});

t.test('the ring has its minimum size, whole entries for the lightest, and never more than its bound', async t => {
  t.equal(new Ring(equal(1), 1024).size, 1024);
  t.ok(new Ring(equal(3), 1024).size >= 1024);
  t.equal(new Ring(equal(2000), 1024).size, 2000);
  t.equal(new Ring(hosts([1, 65_535]), 1024).size, 65_536);
  t.ok(new Ring(hosts([1, 65_535, 65_535, 65_535]), 1024).size <= maxTableEntries);
});

t.test('when a host goes, no more than twice its share of the keys moves', async t => {
  for (const [name, make] of both) {
    for (const count of [3, 10]) {
      const before = equal(count);
      const after = before.filter((_, i) => i !== 1);
      const then = owners(make(before), before);
      const now = owners(make(after), after);
      const own = then.filter(owner => owner === 'host-1').length;
      const moved = then.filter((owner, i) => owner !== now[i]).length;
      t.ok(moved >= own);
      t.ok(moved <= (2 * keys.length) / count, `${name} of ${count}: ${moved} moved, ${own} had to`);
    }
  }
});

t.test(
  'while a host is out its keys go to the others evenly and always the same way, and all other keys stay',
  async t => {
    for (const [name, make] of both) {
      const list = equal(5);
      const table = make(list);
      const before = owners(table, list);
      const [, out] = list;
      if (out === undefined) throw new Error('no host');
      out.available = false;
      const during = owners(table, list);
      t.same(owners(table, list), during);
      t.ok(before.every((owner, i) => (owner === out.key ? during[i] !== out.key : during[i] === owner)));
      const heirs = list.map(({ key }) => during.filter((owner, i) => owner === key && before[i] === out.key).length);
      const orphans = heirs.reduce((sum, heir) => sum + heir, 0);
      const most = name === 'ring' ? 0.5 : 0.3;
      t.ok(Math.max(...heirs) < most * orphans, `${name}: ${heirs}`);
      out.available = true;
      t.same(owners(table, list), before);
    }
  },
);

t.test('the ring without a host is the ring that steps over it', async () => {
  const random = seededRandom(9);
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 8 }), fc.nat(), (count, gone) => {
      const list = equal(count);
      const out = list[gone % count];
      if (out === undefined) return false;
      out.available = false;
      const rest = list.filter(host => host !== out);
      // as many places each as before
      const perHost = Math.ceil(1024 / count);
      const whole = new Ring(list, perHost * count);
      const without = new Ring(rest, perHost * (count - 1));
      return Array.from({ length: 50 }, () => Math.floor(random() * 2 ** 32)).every(
        hash => list[whole.find(hash, list)]?.key === rest[without.find(hash, rest)]?.key,
      );
    }),
    { seed: 2, numRuns: 50 },
  );
});

t.test('a host that is too light for a place in the ring is found when it is the only one', async t => {
  const list = hosts([65_535, 65_535, 1, 1, 65_535]);
  const table = ring(list);
  for (const host of list) {
    for (const each of list) each.available = each === host;
    t.equal(list[table.find(keys[0] ?? 0, list)], host);
  }
  for (const each of list) each.available = false;
  t.equal(table.find(keys[0] ?? 0, list), -1);
});

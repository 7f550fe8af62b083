import fc from 'fast-check';
import t from 'tap';
import * as v from 'valibot';
import {
  addResources,
  countInRanges,
  isNonNegative,
  noResources,
  printRanges,
  printScalar,
  type Range,
  type Resources,
  rangesOf,
  resourcesSchema,
  shortages,
  subtractResources,
  takeFromRanges,
  toMilli,
} from '../../src/model/resources.ts';

const numbers = fc.uniqueArray(fc.integer({ min: 31_000, max: 31_060 }), { maxLength: 40 });
const words = fc.uniqueArray(fc.constantFrom('gpu0', 'gpu1', 'tpm', 'can0'));
const amount = fc.integer({ min: 0, max: 10_000_000 });

function resourcesOf(cpus: number, mem: number, ports: readonly number[], devices: readonly string[]): Resources {
  return { scalars: { cpus, mem }, ranges: { ports: rangesOf(ports) }, sets: { devices: [...devices].sort() } };
}
const resources = fc
  .tuple(amount, amount, numbers, words)
  .map(([cpus, mem, ports, devices]) => resourcesOf(cpus, mem, ports, devices));

t.test('what is added and taken away again leaves what was there', async () => {
  fc.assert(
    fc.property(resources, amount, numbers, words, (free, cpus, ports, devices) => {
      const own = new Set(expand(free.ranges.ports ?? []));
      const more = resourcesOf(
        cpus,
        cpus,
        ports.filter(port => !own.has(port)),
        devices.filter(device => !free.sets.devices?.includes(device)),
      );
      equal(subtractResources(addResources(free, more), more), free);
      equal(addResources(free, more), addResources(more, free));
    }),
    { seed: 13, numRuns: 1000 },
  );
});

t.test('ranges add and subtract as the sets of numbers that they are', async () => {
  fc.assert(
    fc.property(numbers, numbers, (a, b) => {
      const [x, y] = [resourcesOf(0, 0, a, []), resourcesOf(0, 0, b, [])];
      const union = [...new Set([...a, ...b])].sort((m, n) => m - n);
      const difference = a.filter(n => !b.includes(n)).sort((m, n) => m - n);
      equal(expand(addResources(x, y).ranges.ports ?? []), union);
      equal(expand(subtractResources(x, y).ranges.ports ?? []), difference);
      const united = addResources(x, y).ranges.ports ?? [];
      if (united.some((range, i) => i > 0 && range.begin <= (united[i - 1]?.end ?? 0) + 1))
        throw new Error('not merged');
      if (countInRanges(united) !== union.length) throw new Error('miscounted');
    }),
    { seed: 14, numRuns: 1000 },
  );
});

t.test('nothing is short exactly when the rest has no scalar below zero and all that is wanted is there', async () => {
  fc.assert(
    fc.property(resources, resources, (free, need) => {
      const rest = subtractResources(free, need);
      const fits =
        isNonNegative(rest) &&
        expand(need.ranges.ports ?? []).every(port => expand(free.ranges.ports ?? []).includes(port)) &&
        (need.sets.devices ?? []).every(device => free.sets.devices?.includes(device));
      if ((shortages(free, need).length === 0) !== fits) throw new Error(shortages(free, need).join('; '));
    }),
    { seed: 15, numRuns: 1000 },
  );
});

t.test('sums of what operators write are exact', async t => {
  let sum: Resources = noResources;
  for (let i = 0; i < 1000; i++) sum = addResources(sum, { ...noResources, scalars: { cpus: toMilli(0.1) } });
  t.same(sum.scalars, { cpus: 100_000 });
});

t.test('a shortage is a sentence', async t => {
  const free = resourcesOf(1500, 388_000, [31_000, 31_001], ['tpm']);
  const need = resourcesOf(2000, 512_000, [31_001, 31_002, 31_003], ['gpu0']);
  t.same(shortages(free, need), [
    'needs 2 cpus, has 1.5 cpus free',
    'needs 512 MB mem, has 388 MB mem free',
    'needs ports 31002-31003, not free',
    'needs devices gpu0, not free',
  ]);
  t.same(shortages(noResources, { ...noResources, scalars: { bandwidth: 500 } }), [
    'needs 0.5 bandwidth, has 0 bandwidth free',
  ]);
});

t.test('numbers are taken from the front of ranges, all or none', async t => {
  const ranges = rangesOf([5, 1, 2, 9]);
  t.same(ranges, [
    { begin: 1, end: 2 },
    { begin: 5, end: 5 },
    { begin: 9, end: 9 },
  ]);
  t.same(takeFromRanges(ranges, 3), [1, 2, 5]);
  t.same(takeFromRanges(ranges, 0), []);
  t.equal(takeFromRanges(ranges, 5), undefined);
  t.equal(printRanges(ranges), '1-2, 5, 9');
  t.equal(printScalar('disk', 1_500_000), '1500 MB disk');
});

t.test('the wire form refuses what cannot be', async t => {
  const good = { scalars: { cpus: 1 }, ranges: { ports: [{ begin: 1, end: 2 }] }, sets: {} };
  t.equal(v.is(resourcesSchema, good), true);
  for (const bad of [
    { ...good, scalars: { cpus: -1 } },
    { ...good, scalars: { cpus: 0.5 } },
    { ...good, scalars: { 'bad name': 1 } },
    { ...good, ranges: { ports: [{ begin: 2, end: 1 }] } },
    { ...good, extra: 1 },
    { scalars: {} },
  ]) {
    t.equal(v.is(resourcesSchema, bad), false, JSON.stringify(bad));
  }
});

function expand(ranges: readonly Range[]): number[] {
  return ranges.flatMap(({ begin, end }) => Array.from({ length: end - begin + 1 }, (_, i) => begin + i));
}

function equal(got: unknown, expected: unknown): void {
  const [a, b] = [JSON.stringify(got), JSON.stringify(expected)];
  if (a !== b) throw new Error(`got ${a}, expected ${b}`);
}

import * as v from 'valibot';

/** An inclusive range of whole numbers, as Mesos' `Value.Ranges`. */
export interface Range {
  readonly begin: number;
  readonly end: number;
}

/**
 * What a node has or a task needs, as Mesos counts it but in whole milli-units, so that sums are exact:
 * `scalars.cpus` in 1/1000 of a core, `scalars.mem` and `scalars.disk` in 1/1000 MB, any other scalar in 1/1000 of its unit;
 * `ranges.ports` sorted and apart; `sets` (devices) as sorted words.
 */
export interface Resources {
  readonly scalars: Readonly<Record<string, number>>;
  readonly ranges: Readonly<Record<string, readonly Range[]>>;
  readonly sets: Readonly<Record<string, readonly string[]>>;
}

/** The range of ports of a node that tasks may ask for by number; those that it chooses are in `ports`. */
export const nodePorts = 'node-ports';

export const noResources: Resources = { scalars: {}, ranges: {}, sets: {} };

const scalarSchema = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const rangeSchema = v.pipe(
  v.strictObject({ begin: scalarSchema, end: scalarSchema }),
  v.check(range => range.begin <= range.end, 'expected begin <= end'),
);
/** `cpus`, `gpio`, `camera-2`. */
export const resourceName = v.pipe(v.string(), v.regex(/^[a-z][a-z0-9_-]{0,62}$/, 'expected a resource name'));

/** The name of a resource that is not one of those that every node has. */
const customName = v.pipe(
  v.string(),
  v.regex(
    /^(?!(?:cpus|mem|disk|ports|node-ports|task-slots)$)[a-z][a-z0-9_-]{0,62}$/,
    'expected a resource name as npu, and none of cpus, mem, disk and ports',
  ),
);

const customAmount = v.pipe(v.number(), v.minValue(0, 'expected 0 or more'), v.maxValue(1e9, 'expected at most 1e9'));
const customWords = v.pipe(
  v.array(v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
  v.minLength(1, 'expected at least one'),
  v.maxLength(256, 'expected at most 256'),
);

/** Amounts (`{npu: 1}`) and devices by name, each for one task at a time (`{gpio: ['17'], serial: ['ttyUSB0']}`). */
export const customResourcesSchema = v.strictObject({
  scalars: v.optional(v.pipe(v.record(customName, customAmount), v.maxEntries(16, 'expected at most 16 resources'))),
  sets: v.optional(v.pipe(v.record(customName, customWords), v.maxEntries(16, 'expected at most 16 resources'))),
});

export type CustomResources = v.InferOutput<typeof customResourcesSchema>;

/** The wire form of `Resources`. */
export const resourcesSchema: v.GenericSchema<unknown, Resources> = v.strictObject({
  scalars: v.record(resourceName, scalarSchema),
  ranges: v.record(resourceName, v.pipe(v.array(rangeSchema), v.maxLength(256))),
  sets: v.record(resourceName, v.pipe(v.array(v.pipe(v.string(), v.maxLength(128))), v.maxLength(256))),
});

/** Cores as an operator writes them (0.25) to milli-units; at most three decimals count, as in Mesos. */
export function toMilli(units: number): number {
  return Math.round(units * 1000);
}

export function fromMilli(milli: number): number {
  return milli / 1000;
}

/** As an operator writes them, to milli-units; a word counts once. */
export function customResources({ scalars = {}, sets = {} }: CustomResources): Pick<Resources, 'scalars' | 'sets'> {
  return {
    scalars: Object.fromEntries(Object.entries(scalars).map(([name, amount]) => [name, toMilli(amount)])),
    sets: Object.fromEntries(Object.entries(sets).map(([name, words]) => [name, [...new Set(words)].sort()])),
  };
}

export function addResources(a: Resources, b: Resources): Resources {
  return combine(
    a,
    b,
    (x, y) => x + y,
    uniteRanges,
    (x, y) => [...new Set([...x, ...y])].sort(),
  );
}

/** `a` without `b`; what `b` has and `a` has not counts below zero for scalars and is ignored elsewhere. */
export function subtractResources(a: Resources, b: Resources): Resources {
  return combine(
    a,
    b,
    (x, y) => x - y,
    subtractRanges,
    (x, y) => x.filter(word => !y.includes(word)),
  );
}

/** Why `need` does not fit in `free`, one sentence a resource ("needs 512 MB mem, has 388"); empty when it fits. */
export function shortages(free: Resources, need: Resources): string[] {
  const missing: string[] = [];
  for (const [name, amount] of Object.entries(need.scalars)) {
    const has = free.scalars[name] ?? 0;
    if (amount > has) missing.push(`needs ${printScalar(name, amount)}, has ${printScalar(name, has)} free`);
  }
  for (const [name, ranges] of Object.entries(need.ranges)) {
    const lacking = subtractRanges(ranges, free.ranges[name] ?? []);
    if (lacking.length > 0) missing.push(`needs ${name} ${printRanges(lacking)}, not free`);
  }
  for (const [name, words] of Object.entries(need.sets)) {
    const lacking = words.filter(word => !(free.sets[name] ?? []).includes(word));
    if (lacking.length > 0) missing.push(`needs ${name} ${lacking.join(', ')}, not free`);
  }
  return missing;
}

/** No scalar below zero: the sign that nothing is over-committed. */
export function isNonNegative(resources: Resources): boolean {
  return Object.values(resources.scalars).every(amount => amount >= 0);
}

/** The first `count` numbers of `ranges`, or undefined when there are fewer. */
export function takeFromRanges(ranges: readonly Range[], count: number): number[] | undefined {
  const taken: number[] = [];
  for (const range of ranges) {
    for (let n = range.begin; n <= range.end && taken.length < count; n++) taken.push(n);
  }
  return taken.length === count ? taken : undefined;
}

/** Single numbers as ranges, sorted and merged. */
export function rangesOf(numbers: readonly number[]): Range[] {
  return uniteRanges(
    [],
    numbers.map(n => ({ begin: n, end: n })),
  );
}

export function isInRanges(number: number, ranges: readonly Range[]): boolean {
  return ranges.some(({ begin, end }) => begin <= number && number <= end);
}

export function countInRanges(ranges: readonly Range[]): number {
  return ranges.reduce((sum, range) => sum + range.end - range.begin + 1, 0);
}

/** Every number in the ranges of ports. */
export function portNumbers({ ranges }: Resources): number[] {
  return [...(ranges.ports ?? []), ...(ranges[nodePorts] ?? [])].flatMap(({ begin, end }) =>
    Array.from({ length: end - begin + 1 }, (_, i) => begin + i),
  );
}

export function printScalar(name: string, milli: number): string {
  const amount = Number(fromMilli(milli).toFixed(3));
  if (name === 'cpus') return `${amount} cpus`;
  return name === 'mem' || name === 'disk' ? `${Math.round(amount)} MB ${name}` : `${amount} ${name}`;
}

export function printRanges(ranges: readonly Range[]): string {
  return ranges.map(r => (r.begin === r.end ? `${r.begin}` : `${r.begin}-${r.end}`)).join(', ');
}

function combine(
  a: Resources,
  b: Resources,
  scalar: (x: number, y: number) => number,
  range: (x: readonly Range[], y: readonly Range[]) => Range[],
  set: (x: readonly string[], y: readonly string[]) => string[],
): Resources {
  return {
    scalars: mergeKeys(a.scalars, b.scalars, (x = 0, y = 0) => scalar(x, y)),
    ranges: mergeKeys(a.ranges, b.ranges, (x = [], y = []) => range(x, y)),
    sets: mergeKeys(a.sets, b.sets, (x = [], y = []) => set(x, y)),
  };
}

function mergeKeys<T>(
  a: Readonly<Record<string, T>>,
  b: Readonly<Record<string, T>>,
  merge: (x: T | undefined, y: T | undefined) => T,
): Record<string, T> {
  const out: Record<string, T> = {};
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) out[key] = merge(a[key], b[key]);
  return out;
}

function uniteRanges(a: readonly Range[], b: readonly Range[]): Range[] {
  const out: Range[] = [];
  for (const range of [...a, ...b].sort((x, y) => x.begin - y.begin)) {
    const last = out.at(-1);
    if (last !== undefined && range.begin <= last.end + 1) {
      out[out.length - 1] = { begin: last.begin, end: Math.max(last.end, range.end) };
    } else {
      out.push(range);
    }
  }
  return out;
}

function subtractRanges(a: readonly Range[], b: readonly Range[]): Range[] {
  let left = [...a];
  for (const cut of b) {
    left = left.flatMap(range => {
      if (cut.end < range.begin || cut.begin > range.end) return [range];
      const parts: Range[] = [];
      if (cut.begin > range.begin) parts.push({ begin: range.begin, end: cut.begin - 1 });
      if (cut.end < range.end) parts.push({ begin: cut.end + 1, end: range.end });
      return parts;
    });
  }
  return left;
}

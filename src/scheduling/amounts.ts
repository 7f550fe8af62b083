import { addResources, countInRanges, noResources, type Resources, subtractResources } from '../model/resources.ts';

/** Amounts by name, in milli-units. */
export type Scalars = Readonly<Record<string, number>>;

/** What is zero is left out, so that equal sums are equal values. */
export function addScalars(a: Scalars, b: Scalars): Scalars {
  return combined(a, b, 1);
}

export function subtractScalars(a: Scalars, b: Scalars): Scalars {
  return combined(a, b, -1);
}

function combined(a: Scalars, b: Scalars, sign: 1 | -1): Scalars {
  const sum: Record<string, number> = { ...a };
  for (const [name, amount] of Object.entries(b)) {
    const value = (sum[name] ?? 0) + sign * amount;
    if (value === 0) delete sum[name];
    else sum[name] = value;
  }
  return sum;
}

/** Are all amounts whole milli-units of 0 or more? */
export function isWhole(resources: Resources): boolean {
  return Object.values(resources.scalars).every(amount => Number.isSafeInteger(amount) && amount >= 0);
}

/** No scalar below zero: a debt counts as nothing. */
export function clampAtZero(resources: Resources): Resources {
  const scalars: Record<string, number> = {};
  for (const [name, amount] of Object.entries(resources.scalars)) scalars[name] = Math.max(0, amount);
  return { ...resources, scalars };
}

export function sumOf(parts: Iterable<Resources>): Resources {
  let sum = noResources;
  for (const part of parts) sum = addResources(sum, part);
  return sum;
}

/** Is nothing in two of the parts at once, neither a number of a range nor a word of a set? */
export function addsUp(parts: readonly Resources[]): boolean {
  return countOf(sumOf(parts)) === parts.reduce((count, part) => count + countOf(part), 0);
}

/** The same amounts, where what is not named counts as nothing. */
export function sameResources(a: Resources, b: Resources): boolean {
  return isNothing(subtractResources(a, b)) && isNothing(subtractResources(b, a));
}

/** Is there not a trace of anything? */
export function isNothing(resources: Resources): boolean {
  return Object.values(resources.scalars).every(amount => amount === 0) && countOf(resources) === 0;
}

function countOf({ ranges, sets }: Resources): number {
  const numbers = Object.values(ranges).reduce((count, some) => count + countInRanges(some), 0);
  return Object.values(sets).reduce((count, words) => count + words.length, numbers);
}

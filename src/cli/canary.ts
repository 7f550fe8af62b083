import { InvalidArgumentError } from 'commander';
import * as v from 'valibot';
import { nameSchema } from '../model/ids.ts';

/** Whom a push goes to first, as a step of a Rollout is written. */
export type Canary =
  | { readonly percent: number }
  | { readonly labels: Readonly<Record<string, string>> }
  | { readonly nodes: readonly string[] };

/** `10%`, `zone=test,rack=2` or `pi-1,pi-2`. */
export function parseCanary(text: string): Canary {
  const [, digits] = /^(\d{1,3}(?:\.\d{1,3})?)%$/.exec(text) ?? [];
  if (digits !== undefined) {
    const percent = Number(digits);
    if (percent > 0 && percent <= 100) return { percent };
    throw new InvalidArgumentError('expected more than 0% and at most 100%');
  }
  const words = text.split(',');
  if (text.includes('=')) return { labels: Object.fromEntries(words.map(readLabel)) };
  if (words.every(word => v.is(nameSchema, word))) return { nodes: words };
  throw new InvalidArgumentError('expected a share as 10%, labels as zone=test, or names of nodes as pi-1,pi-2');
}

function readLabel(word: string): [string, string] {
  const [, name, value] = /^([A-Za-z0-9][A-Za-z0-9._/-]{0,252})=(.{0,253})$/.exec(word) ?? [];
  if (name === undefined || value === undefined) throw new InvalidArgumentError('expected labels as zone=test,rack=2');
  return [name, value];
}

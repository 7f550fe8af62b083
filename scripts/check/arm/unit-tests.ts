import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Ended } from '../debian/program.ts';

/** What runs as one process: `name` is the row's. */
export interface TestGroup {
  readonly name: string;
  /** Relative to the project. */
  readonly files: readonly string[];
}

/** Rooms of pure code: loading tap is what takes longest under emulation, and their files can share a process. */
const pure = ['base', 'model', 'policy', 'traffic', 'scheduling', 'lifecycle'];
/** Rooms that touch a machine; each file is a process of its own. */
const hands = ['device', 'identity', 'store'];

/** Those of one machine that take this long elsewhere because they wait, or that another program decides. */
export function testGroups(short: boolean): readonly TestGroup[] {
  const together = pure.map(room => ({ name: room, files: testsIn(room) }));
  if (short) return together;
  return [...together, ...hands.flatMap(room => testsIn(room).map(file => ({ name: nameOf(file), files: [file] })))];
}

const root = join('build', 'test');

function testsIn(room: string): string[] {
  const names = readdirSync(join(root, room)).filter(name => name.endsWith('.test.js'));
  return names.sort().map(name => join(root, room, name));
}

function nameOf(file: string): string {
  return file.slice(root.length + 1).replace('.test.js', '');
}

export interface Verdicts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Of those that failed, by name. */
  readonly failures: readonly string[];
}

/** Reads what a process of tests said (TAP). */
export function readTap({ code, output }: Ended): Verdicts {
  const totals = [...output.matchAll(/^# \{ total: (.*) \}$/gm)].at(-1)?.[1] ?? '';
  const count = (word: string) => Number(new RegExp(`\\b${word}: (\\d+)`).exec(totals)?.[1] ?? 0);
  const failures = [...output.matchAll(/^ *not ok \d+ - (.*?)(?: # time=.*)?$/gm)].map(match => match[1] ?? '');
  const failed = Math.max(count('fail'), code === 0 && totals !== '' ? 0 : 1);
  const said = failures.length > 0 || failed === 0 ? failures : [output.trim().split('\n').slice(-3).join(' ')];
  return { passed: count('pass'), failed, skipped: count('skip'), failures: said };
}

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Ended } from '../debian/program.ts';

/**
 * Rooms by what another processor can change: in pure code the engine's numbers, strings and regular expressions, then files, clocks, /proc and
 * processes (device), native cryptography (identity), and the database's library (store). Left out are those of many processes, connections
 * and timers, whose tests wait for what an emulator is too slow for: broker, link, proxy, agent, master, cli. What they have of the machine they
 * have from these; the quickstart and the packages show them at work.
 */
export const rooms = ['base', 'model', 'policy', 'traffic', 'scheduling', 'lifecycle', 'device', 'identity', 'store'];

const root = join('build', 'test');

/** The test files of a room, relative to the project. They are one process: loading tap takes longer there than most of them. */
export function testsIn(room: string): string[] {
  const names = readdirSync(join(root, room)).filter(name => name.endsWith('.test.js'));
  return names.sort().map(name => join(root, room, name));
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

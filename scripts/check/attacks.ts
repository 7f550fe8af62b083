/**
 * Mounts every attack of test/system/attacks on a fleet of processes, over sockets, and says what came of each: on our own broker, and on a
 * mosquitto where there is one. After each one a new task runs,
 * the old ones have not been touched, and the policy holds. `--json` prints one object a row, where `value` is how many attempts got through;
 * `--only <text>` takes those attacks whose name has that text. The exit code is 1 when an attack was not refused.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/base/errors.ts';
import { isMosquittoMissing } from '../../test/fixtures/mosquitto.ts';
import { attacks, attacksOnMosquitto } from '../../test/system/attacks/all.ts';
import { Arena } from '../../test/system/attacks/arena.ts';
import type { Attack, Attempt } from '../../test/system/attacks/attack.ts';
import { printRow, printTable, say } from './rows.ts';

interface Result {
  readonly name: string;
  readonly attempts: readonly Attempt[];
  readonly how: string;
  readonly seconds: number;
  /** Undefined for one that cannot be mounted here. */
  readonly met: boolean | undefined;
}

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
});

async function mount(attack: Attack, arena: Arena): Promise<Result> {
  const { name } = attack;
  const why = attack.skip?.();
  if (why !== undefined) return { name, attempts: [], how: `skipped: ${why}`, seconds: 0, met: undefined };
  const begun = performance.now();
  const seconds = () => (performance.now() - begun) / 1000;
  try {
    const { attempts, how } = await attack.mount(arena);
    await arena.checkWorks();
    const met = attempts.length > 0 && attempts.every(({ refused }) => refused);
    return { name, attempts, how, seconds: seconds(), met };
  } catch (error) {
    const attempts = [{ what: messageOf(error), refused: false }];
    return { name, attempts, how: 'could not be shown', seconds: seconds(), met: false };
  }
}

function report({ name, attempts, how, met, seconds }: Result): void {
  const through = attempts.filter(({ refused }) => !refused);
  if (!options.json) {
    say(`${met === undefined ? '-' : met ? '✓' : '✗'} ${name} (${seconds.toFixed(1)} s)`);
    for (const { what } of through) say(`    NOT REFUSED: ${what}`);
  } else if (met === undefined) {
    process.stderr.write(`${name}: ${how}\n`);
  } else {
    const unit = `of ${attempts.length} attempts got through`;
    printRow({ case: name, value: through.length, unit, peer: null, ratio: null, goal: 0, met });
  }
}

function summarize(results: readonly Result[]): void {
  const lines = results.map(({ name, attempts, how, met }) => {
    const refused = attempts.filter(({ refused }) => refused).length;
    const verdict = met === undefined ? 'skipped' : met ? 'refused' : 'NOT REFUSED';
    return [name, `${refused}/${attempts.length}`, verdict, how];
  });
  say();
  printTable([['attack', 'refused', 'verdict', 'how'], ...lines]);
  const failed = results.filter(({ met }) => met === false).length;
  const skipped = results.filter(({ met }) => met === undefined).length;
  const rest = skipped > 0 ? `, ${skipped} skipped` : '';
  say(`\n${results.length - failed - skipped} attacks refused, ${failed} not${rest}`);
}

/** Mounts those of `all` that are asked for on a fleet of their own. */
async function run(name: Arena['broker'], all: readonly Attack[], why?: string | false): Promise<Result[]> {
  const chosen = all.filter(attack => attack.name.includes(options.only));
  if (chosen.length === 0) return [];
  if (typeof why === 'string') {
    const how = `skipped: ${why}`;
    const skipped = { name: `attacks on ${name}`, attempts: [], how, seconds: 0, met: undefined };
    report(skipped);
    return [skipped];
  }
  const home = join(directory, name);
  mkdirSync(home);
  const arena = new Arena(home, name);
  const results: Result[] = [];
  try {
    await arena.open();
    for (const attack of chosen) {
      const result = await mount(attack, arena);
      report(result);
      results.push(result);
    }
  } finally {
    await arena.close();
  }
  return results;
}

const directory = mkdtempSync(join(tmpdir(), 'mesolite-attacks-'));
try {
  const results = await run('embedded', attacks);
  results.push(...(await run('mosquitto', attacksOnMosquitto, isMosquittoMissing)));
  if (!options.json) summarize(results);
  if (results.length === 0 || results.some(({ met }) => met === false)) process.exitCode = 1;
} catch (error) {
  process.stderr.write(`the fleet to attack does not work: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
if (process.exitCode === undefined) rmSync(directory, { recursive: true, force: true });
else process.stderr.write(`the logs are in ${directory}\n`);
process.exit();

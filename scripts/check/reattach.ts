/**
 * Kills an agent and starts it again, many times, under a task that serves: not one request of those who call the task itself may fail, its
 * process stays the same, and how tasks ended meanwhile is learnt. And cuts the link of another as often: nothing starts anew. `--rounds N`, `--seed N`;
 * `--json` prints one row. The exit code is 1 when something does not hold.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { printRow } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(1 + (Date.now() % 100_000)) },
  },
});
const [rounds, seed] = [wholeNumber(values.rounds), wholeNumber(values.seed)];
const tests = ['agent-restart', 'reconnect'].map(name =>
  fileURLToPath(new URL(`../../test/system/${name}.test.js`, import.meta.url)),
);
const env = {
  ...process.env,
  MESOLITE_REATTACH_ROUNDS: String(rounds),
  MESOLITE_REATTACH_SEED: String(seed),
  TAP_TIMEOUT: String(120 + rounds * 60),
};
const stdio = values.json ? 'ignore' : 'inherit';
const met = tests.every(test => spawnSync(process.execPath, [test], { env, stdio }).status === 0);
if (values.json) {
  const value = met ? rounds : 0;
  printRow({ case: `reattach, seed ${seed}`, value, unit: 'rounds', peer: null, ratio: null, goal: rounds, met });
}
process.exitCode = met ? 0 : 1;

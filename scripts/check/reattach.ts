/**
 * Kills an agent and starts it again, many times, under a task that serves: not one request of those who call the task itself may fail, its
 * process stays the same, and how tasks ended meanwhile is learnt. `--rounds N`, `--seed N`; `--json` prints one row. The exit code is 1 when
 * something does not hold.
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
const test = fileURLToPath(new URL('../../test/system/agent-restart.test.js', import.meta.url));
const env = {
  ...process.env,
  MESOLITE_REATTACH_ROUNDS: String(rounds),
  MESOLITE_REATTACH_SEED: String(seed),
  TAP_TIMEOUT: String(120 + rounds * 60),
};
const { status } = spawnSync(process.execPath, [test], { env, stdio: values.json ? 'ignore' : 'inherit' });
const met = status === 0;
if (values.json) {
  const value = met ? rounds : 0;
  printRow({ case: `reattach, seed ${seed}`, value, unit: 'rounds', peer: null, ratio: null, goal: rounds, met });
}
process.exitCode = met ? 0 : 1;

/**
 * Kills the master at random points while a batch runs on two agents: every task must end once in the ledger, none be lost, and none have run
 * twice by what the tasks wrote down themselves. `--rounds N` of `--tasks N` each and two kills, `--seed N`; `--json` prints one row. The exit
 * code is 1 when something does not hold.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { printRow } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '20' },
    tasks: { type: 'string', default: '1000' },
    seed: { type: 'string', default: String(1 + (Date.now() % 100_000)) },
  },
});
const [rounds, tasks, seed] = [wholeNumber(values.rounds), wholeNumber(values.tasks), wholeNumber(values.seed)];
const test = fileURLToPath(new URL('../../test/system/batch-kill.test.js', import.meta.url));
const env = {
  ...process.env,
  MESOLITE_BATCH_ROUNDS: String(rounds),
  MESOLITE_BATCH_TASKS: String(tasks),
  MESOLITE_BATCH_SEED: String(seed),
  TAP_TIMEOUT: String(60 + rounds * (60 + tasks)),
};
const { status } = spawnSync(process.execPath, [test], { env, stdio: values.json ? 'ignore' : 'inherit' });
const met = status === 0;
if (values.json) {
  printRow({
    case: `batch, seed ${seed}`,
    value: met ? rounds * tasks : 0,
    unit: 'tasks',
    peer: null,
    ratio: null,
    goal: rounds * tasks,
    met,
  });
}
process.exitCode = met ? 0 : 1;

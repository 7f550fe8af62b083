/**
 * Kills agent and master at random points and cuts the link, many times, while calls go on: no acknowledged record may be missing, every loss
 * must be a gap, and the chain must verify. `--rounds N` of kills and cuts, `--seed N`; `--json` prints one row. The exit code is 1 when
 * something does not hold.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { printRow } from './rows.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
  },
});
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];
if (!(Number.isSafeInteger(rounds) && rounds >= 1 && Number.isSafeInteger(seed))) {
  throw new Error(`expected whole numbers, got ${values.rounds} rounds and seed ${values.seed}`);
}
const test = fileURLToPath(new URL('../../test/system/audit-kill.test.js', import.meta.url));
const env = {
  ...process.env,
  MESOLITE_AUDIT_ROUNDS: String(rounds),
  MESOLITE_AUDIT_SEED: String(seed),
  TAP_TIMEOUT: String(60 + 60 * rounds),
};
const { status } = spawnSync(process.execPath, [test], { env, stdio: values.json ? 'ignore' : 'inherit' });
const met = status === 0;
if (values.json) {
  printRow({
    case: `audit, seed ${seed}`,
    value: met ? rounds : 0,
    unit: 'rounds',
    peer: null,
    ratio: null,
    goal: rounds,
    met,
  });
}
process.exitCode = met ? 0 : 1;

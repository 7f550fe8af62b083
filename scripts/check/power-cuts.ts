/**
 * Pulls the plug of a node at random moments, many times: its processes are killed, of its last writes some are lost or torn. Each time its
 * state must load, or the one before it, nothing that it has said to hold may be lost, and of each task that should run there must be one
 * copy. In some rounds the agent alone is killed. `--rounds N`, `--seed N`; `--json` prints one object a row. Needs /proc; the exit code
 * is 1 when something does not hold.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Outcome, playRounds } from './power-cuts/rounds.ts';
import { printRow, printTable, say } from './rows.ts';

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 100_000) },
  },
});
const [rounds, seed] = [Number(values.rounds), Number(values.seed)];
if (!(Number.isSafeInteger(rounds) && rounds >= 1 && Number.isSafeInteger(seed))) {
  throw new Error(`expected whole numbers, got ${values.rounds} rounds and seed ${values.seed}`);
}

const place = mkdtempSync(join(tmpdir(), 'mesolite-power-'));
let played = 0;
let outcome: Outcome | undefined;
try {
  outcome = await playRounds(join(place, 'node'), rounds, seed, round => {
    played = round;
    if (!values.json && round % 100 === 0) say(`${round} rounds`);
  });
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
} finally {
  rmSync(place, { recursive: true, force: true });
}
const met = outcome !== undefined;
const row = {
  case: `power cuts, seed ${seed}`,
  value: played,
  unit: 'rounds',
  peer: null,
  ratio: null,
  goal: rounds,
  met,
};
if (values.json) printRow(row);
else {
  printTable([
    ['rounds', 'power cuts', 'agent killed', 'damaged files made good', ''],
    [
      played,
      outcome?.powerCuts ?? '-',
      outcome?.kills ?? '-',
      outcome?.recovered ?? '-',
      met ? 'holds' : 'DOES NOT HOLD',
    ].map(String),
  ]);
}
process.exitCode = met ? 0 : 1;

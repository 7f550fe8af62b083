/**
 * Gives many seeded requests and responses, most of them a little wrong, to our parser and to Node's own (llhttp in its strict mode): what ours
 * takes, llhttp must take as the same messages with the same bodies, also in the form in which ours would forward it; what only ours refuses must
 * be among what it refuses on purpose. `--inputs N`, `--seed S`; `--json` prints one object a row. The exit code is 1 when that does not hold.
 */
import { parseArgs } from 'node:util';
import { seededRandom } from '../../src/base/random.ts';
import { Comparison, deliberate, tolerated } from '../../test/proxy/wire/differential/compare.ts';
import { Inputs } from '../../test/proxy/wire/differential/inputs.ts';
import { printRow, printTable, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const requestsInBatch = 750;
const responsesInBatch = 250;
const maxSeconds = 400;
const maxExamples = 5;

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    inputs: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
  },
});
const [wanted, seed] = [wholeNumber(options.inputs), wholeNumber(options.seed)];

/** Each batch has a seed of its own, so that what is wrong can be had again at once. */
async function compareAll(comparison: Comparison): Promise<void> {
  const batch = requestsInBatch + responsesInBatch;
  for (let at = seed; comparison.inputs < wanted; at++) {
    const inputs = new Inputs(seededRandom(at));
    const before = comparison.wrong().length;
    await comparison.requests(inputs, requestsInBatch);
    await comparison.responses(inputs, responsesInBatch);
    const wrong = comparison.wrong().slice(before, before + maxExamples);
    for (const fault of wrong) process.stderr.write(`--inputs ${batch} --seed ${at}: ${fault}\n`);
    if (comparison.inputs % (100 * batch) === 0) process.stderr.write(`${comparison.inputs} of ${wanted} inputs\n`);
  }
}

function row(name: string, value: number, unit: string, goal: number): Row {
  return { case: name, value, unit, peer: null, ratio: null, goal, met: value <= goal };
}

function printTally(counts: ReadonlyMap<string, number>, reasons: Readonly<Record<string, string>>): void {
  const lines = [...counts].sort(([, a], [, b]) => b - a);
  printTable(lines.map(([name, count]) => [`  ${name}`, `${count} inputs`, reasons[name] ?? 'NOT ON THE LIST']));
}

const comparison = new Comparison();
const begun = performance.now();
await compareAll(comparison);
const seconds = Math.round((performance.now() - begun) / 100) / 10;
const rows = [
  row('messages that llhttp reads otherwise', comparison.faults.length, `of ${comparison.inputs} inputs`, 0),
  row('refusals that are not on purpose', comparison.wrong().length - comparison.faults.length, 'reasons', 0),
  row('time', seconds, 's', maxSeconds),
];
if (options.json) rows.forEach(printRow);
else {
  const lines = rows.map(({ case: name, value, unit, goal, met }) => [
    name,
    `${value} ${unit}`,
    `at most ${goal}`,
    met ? 'met' : 'NOT MET',
  ]);
  printTable([['case', 'value', 'goal', 'verdict'], ...lines]);
  say(`\nboth read the same ${comparison.agreed} messages; seed ${seed}`);
  say('\nrefused by ours, taken by llhttp:');
  printTally(comparison.stricter, deliberate);
  say('\nrefused by llhttp, taken by ours:');
  printTally(comparison.laxer, tolerated);
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);

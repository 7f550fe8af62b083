/**
 * What holds of the policy engine whatever the policies, on many random ones: it agrees with a plain interpreter, DENY wins, one more ALLOW takes
 * nothing away, and what is printed and read again decides the same. `--cases N` for each property, `--seed S`; `--json` prints one object a row.
 * The exit code is 1 when one does not hold, and then what it fell over is on standard error.
 */
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { policyProperties } from '../../test/fixtures/policy-properties.ts';
import { printRow, printTable, type Row } from './rows.ts';

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
const [cases, seed] = [wholeNumber(options.cases), wholeNumber(options.seed)];

function wholeNumber(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`expected a whole number above 0, got ${text}`);
  return number;
}

const rows = Object.entries(policyProperties).map(([name, property]): Row => {
  const found = fc.check<unknown[]>(property, { numRuns: cases, seed });
  const value = found.failed ? 1 : 0;
  if (found.failed) process.stderr.write(`${name}: --seed ${seed}: ${fc.defaultReportMessage(found) ?? ''}\n`);
  else process.stderr.write(`${name}: ${found.numRuns} cases\n`);
  return {
    case: name,
    value,
    unit: `failures in ${found.numRuns}`,
    peer: null,
    ratio: null,
    goal: 0,
    met: value === 0,
  };
});
if (options.json) rows.forEach(printRow);
else
  printTable([
    ['property', 'failures', ''],
    ...rows.map(row => [row.case, `${row.value} ${row.unit}`, row.met ? '' : 'FAILS']),
  ]);
if (rows.some(row => !row.met)) process.exitCode = 1;

/**
 * Gives each door where strangers' bytes come in many seeded inputs: none may do anything but be read or be refused with an expected code, and
 * the heap must not grow, nor may any door be slow. `--inputs N` for each door, `--seed S`; `--json` prints one object a row. The exit code
 * is 1 when a goal is not met.
 */
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { seededRandom } from '../../src/base/random.ts';
import { mutate } from '../../test/system/fuzz/mutate.ts';
import { makeTargets, misbehaviour, type Target } from '../../test/system/fuzz/targets.ts';
import { printRow, printTable, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const maxGrowthMb = 8;
/** Of the processor, so that a machine which is busy with other things changes nothing; ten times what the slowest door needs. */
const maxCpuMs = 2;
/** Before the heap is measured first: code and caches of the readers are made then. */
const warmUpInputs = 2_000;
const maxExamples = 3;

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    inputs: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
  },
});
const [inputs, seed] = [wholeNumber(options.inputs), wholeNumber(options.seed)];

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

function heapMb(): number {
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return (heapUsed + external) / 2 ** 20;
}

/** Gives a door its inputs; how many it did not take as it should. */
function feed(target: Target, count: number, random: () => number): number {
  let crashes = 0;
  for (let i = 0; i < count; i++) {
    const input = mutate(target.samples, random);
    const wrong = misbehaviour(target, input);
    if (wrong === undefined) continue;
    if (++crashes <= maxExamples) process.stderr.write(`${target.name}: ${wrong}: ${input.toString('hex')}\n`);
  }
  return crashes;
}

function fuzz(target: Target): Row[] {
  feed(target, Math.min(inputs, warmUpInputs), seededRandom(seed + 1));
  const before = heapMb();
  const cpu = process.cpuUsage();
  const crashes = feed(target, inputs, seededRandom(seed));
  const { user, system } = process.cpuUsage(cpu);
  const growth = heapMb() - before;
  return [
    row(`${target.name}: crashes`, crashes, `of ${inputs} inputs`, 0),
    row(`${target.name}: growth of the heap`, growth, 'MB', maxGrowthMb),
    row(`${target.name}: processor time`, (user + system) / 1000 / inputs, 'ms an input', maxCpuMs),
  ];
}

function row(name: string, value: number, unit: string, goal: number): Row {
  const rounded = Math.round(value * 100) / 100;
  return { case: name, value: rounded, unit, peer: null, ratio: null, goal, met: value <= goal };
}

const rows = makeTargets().flatMap(fuzz);
if (options.json) rows.forEach(printRow);
else {
  const lines = rows.map(row => [
    row.case,
    `${row.value} ${row.unit}`,
    `at most ${row.goal}`,
    row.met ? 'met' : 'NOT MET',
  ]);
  printTable([['case', 'value', 'goal', 'verdict'], ...lines]);
  say(`\nseed ${seed}`);
}
if (rows.some(({ met }) => !met)) process.exitCode = 1;

/** How short the plans of the scheduler are, and what planning costs. `npm run bench:scheduling`; `-- --instance FILE…` for other instances. */
import { defaultSearchMs } from '../../src/scheduling/scheduler.ts';
import { planInstance } from './scheduling/braun.ts';
import { minMin, sufferage } from './scheduling/heuristics.ts';
import { braunInstances, type Instance, readInstance } from './scheduling/instance.ts';
import { onlineRows } from './scheduling/online.ts';
import { scaleRows } from './scheduling/scale.ts';
import { printRows, type Row } from './table.ts';

const args = process.argv.slice(2);
const asJson = args.includes('--json');
const given = args.includes('--instance')
  ? args.slice(args.indexOf('--instance') + 1).filter(arg => !arg.startsWith('--'))
  : [];

interface Line {
  readonly instance: Instance;
  readonly mct: number;
  readonly minMin: number;
  readonly sufferage: number;
  readonly ours: number;
  readonly cpuMs: number;
}

function measure(path: string): Line {
  const instance = readInstance(path);
  const ours = planInstance(instance, { order: 'longestFirst', budgetMs: defaultSearchMs });
  return {
    instance,
    mct: planInstance(instance, { order: 'arrival', budgetMs: 0 }).makespan,
    minMin: minMin(instance),
    sufferage: sufferage(instance),
    ours: ours.makespan,
    cpuMs: ours.cpuMs,
  };
}

/** To the best known, or to Min-min where nobody published one. */
function peerOf({ instance, minMin: peer }: Line): number {
  return instance.best ?? peer;
}

function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

function printLines(lines: readonly Line[]): void {
  const ratio = (value: number, line: Line) => `${value.toFixed(1)} (${(value / peerOf(line)).toFixed(3)})`;
  const table = [
    ['instance', 'MCT', 'Min-min', 'Sufferage', 'ours', 'best', 'CPU'],
    ...lines.map(line => [
      line.instance.name,
      ratio(line.mct, line),
      ratio(line.minMin, line),
      ratio(line.sufferage, line),
      ratio(line.ours, line),
      line.instance.best?.toFixed(1) ?? '-',
      `${line.cpuMs.toFixed(0)} ms`,
    ]),
    [
      'geometric mean',
      ...(['mct', 'minMin', 'sufferage', 'ours'] as const).map(which =>
        geometricMean(lines.map(line => line[which] / peerOf(line))).toFixed(3),
      ),
    ],
  ];
  const widths = [0, 1, 2, 3, 4, 5, 6].map(i => Math.max(...table.map(cells => cells[i]?.length ?? 0)));
  for (const cells of table)
    console.log(
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  console.log();
}

function rowsOf(lines: readonly Line[]): Row[] {
  const mean = geometricMean(lines.map(line => line.ours / peerOf(line)));
  const slowest = Math.max(...lines.map(line => line.cpuMs));
  return [
    {
      case: `makespan of ${lines.length} instances, geometric mean`,
      value: mean,
      unit: 'x',
      peer: 'best known',
      peerValue: 1,
      ratio: 1 / mean,
      goal: '<= 1.05',
      met: mean <= 1.05,
    },
    {
      case: 'CPU of the slowest plan',
      value: slowest,
      unit: 'ms',
      peer: 'goal',
      peerValue: 200,
      ratio: 200 / slowest,
      goal: '<= 200 ms',
      met: slowest <= 200,
    },
  ];
}

const paths = given.length > 0 ? given : braunInstances();
if (paths.length === 0)
  console.error('the instances of Braun et al. are not here (../shared/corpus/hcsp): give others with --instance');
// a master plans for months, and the first plans are compiled while they run: that is not what a plan costs
for (const path of paths.slice(0, 4)) measure(path);
const lines = paths.map(measure);
if (lines.length > 0 && !asJson) printLines(lines);
const rows = [
  ...(lines.length > 0 ? rowsOf(lines) : []),
  ...(given.length > 0 ? [] : [...onlineRows(), ...scaleRows()]),
];
printRows(rows, asJson);

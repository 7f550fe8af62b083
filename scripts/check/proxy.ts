/**
 * A million requests through real proxies, each a process of its own, while policies are pushed, endpoints come and go, and a node is drained and
 * started again: over HTTP/1.1 and HTTP/2, through the caller's proxy and over mutual TLS, with bodies of many sizes in all framings. Each answer
 * must be that of its request, and allowed or denied as a policy says that was in force meanwhile; and memory must stay flat. `--requests N`,
 * `--seed S`; `--json` prints one object a row. The exit code is 1 when a goal is not met.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/base/errors.ts';
import { seededRandom } from '../../src/base/random.ts';
import { type Answer, type Call, Caller, castCall, expectedBody, type Way } from './proxy/calls.ts';
import { Fleet } from './proxy/fleet.ts';
import { verdictsOf } from './proxy/verdicts.ts';
import { printRow, printTable, type Row, say } from './rows.ts';
import { wholeNumber } from './whole-number.ts';

const ways: readonly (readonly [way: Way, workers: number])[] = [
  ['http', 24],
  ['http2', 12],
  ['mesh', 8],
];
/** Requests between two pushes, and between two changes of the endpoints. */
const pushEvery = 500;
const churnEvery = 1_300;
const maxRestarts = 20;
const samples = 60;
const maxExamples = 5;
/** Of a hundred thousand requests. Connections that end as a request is on its way to them lose it where it may not be repeated. */
const maxUnanswered = 20;
const maxGrowthMb = 2;
/** Too short for a slope. */
const minRequestsForSlope = 200_000;

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    requests: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: '1' },
  },
});
const [wanted, seed] = [wholeNumber(options.requests), wholeNumber(options.seed)];

const counts = { begun: 0, done: 0, pushes: 0, changes: 0, restarts: 0, wrong: 0, mixedUp: 0, unanswered: 0 };
const examples: string[] = [];

function note(what: 'wrong' | 'mixedUp' | 'unanswered', text: string): void {
  counts[what]++;
  if (examples.length < maxExamples) examples.push(text);
}

function judge(call: Call, answer: Answer, from: number, to: number): void {
  const { allow, deny } = verdictsOf(call.place, from, to);
  const text = `/${call.place}/${call.id} under policies ${from} to ${to}: ${answer.status} ${answer.body.slice(0, 80)}`;
  if (answer.status === 200) {
    if (!allow) note('wrong', text);
    if (answer.id !== call.id || answer.body !== expectedBody(call)) note('mixedUp', text);
  } else if (answer.status === 403) {
    if (!deny) note('wrong', text);
  } else note('unanswered', text);
}

async function work(way: Way, fleet: Fleet, caller: Caller, random: () => number): Promise<void> {
  while (counts.begun < wanted) {
    const call = castCall(++counts.begun, random);
    const from = fleet.oldestRevision;
    try {
      const answer = await caller.call(way, call);
      judge(call, answer, from, fleet.revision);
    } catch (error) {
      note('unanswered', `/${call.place}/${call.id} by ${way}: ${messageOf(error)}`);
    }
    counts.done++;
    disturb(fleet);
  }
}

const restartEvery = Math.max(1_000, Math.ceil(wanted / maxRestarts));
let restarting: Promise<void> | undefined;

/** Pushes, changes endpoints, drains and measures, each in its time. */
function disturb(fleet: Fleet): void {
  const { done } = counts;
  if (done % pushEvery === 0) {
    fleet.push();
    counts.pushes++;
  }
  if (done % churnEvery === 0 && restarting === undefined) {
    fleet.announce(counts.changes++ % 2 === 0 ? 'steady' : 'both');
  }
  if (done % restartEvery === 0 && restarting === undefined && done < wanted) {
    restarting = fleet.restart(counts.restarts++ % 2 === 0).then(() => {
      restarting = undefined;
    });
  }
  if (done % Math.ceil(wanted / samples) === 0) fleet.measure();
  if (done % 100_000 === 0) {
    const { wrong, mixedUp, unanswered } = counts;
    const memory = [fleet.caller, fleet.steady].map(({ rssMb }) => `${rssMb.at(-1)?.toFixed(0)} MB`).join(', ');
    const so = `${wrong} wrong, ${mixedUp} mixed up, ${unanswered} without an answer; ${memory}`;
    process.stderr.write(`${done} of ${wanted} requests: ${so}\n`);
  }
}

/** MB for 100,000 requests over the second half of the samples, by least squares. */
function slopeOf(rssMb: readonly number[]): number {
  const half = rssMb.slice(Math.floor(rssMb.length / 2));
  const middle = (half.length - 1) / 2;
  const mean = half.reduce((sum, mb) => sum + mb, 0) / half.length;
  const above = half.reduce((sum, mb, i) => sum + (i - middle) * (mb - mean), 0);
  const below = half.reduce((sum, _, i) => sum + (i - middle) ** 2, 0);
  return below === 0 ? 0 : ((above / below) * 100_000) / (wanted / samples);
}

function row(name: string, value: number, unit: string, goal: number): Row {
  const rounded = Math.round(value * 100) / 100;
  return { case: name, value: rounded, unit, peer: null, ratio: null, goal, met: rounded <= goal };
}

function report(fleet: Fleet): readonly Row[] {
  const of = `of ${counts.done} requests`;
  const rows = [
    row('wrong verdicts', counts.wrong, of, 0),
    row('answers to another request, or damaged', counts.mixedUp, of, 0),
    row('requests without an answer', counts.unanswered, of, Math.ceil((wanted / 100_000) * maxUnanswered)),
  ];
  if (wanted < minRequestsForSlope) return rows;
  const growth = { caller: fleet.caller, served: fleet.steady };
  return [
    ...rows,
    ...Object.entries(growth).map(([name, { rssMb }]) =>
      row(`growth of the ${name} proxy`, slopeOf(rssMb), 'MB in 100,000 requests', maxGrowthMb),
    ),
  ];
}

const fleet = new Fleet();
await fleet.start();
const caller = new Caller(fleet);
const begun = performance.now();
await Promise.all(
  ways.flatMap(([way, workers], w) =>
    Array.from({ length: workers }, (_, i) => work(way, fleet, caller, seededRandom(seed * 1000 + w * 100 + i))),
  ),
);
await restarting;
const seconds = Math.round((performance.now() - begun) / 1000);
const rows = report(fleet);
caller.close();
await fleet.stop();
for (const example of examples) process.stderr.write(`${example}\n`);
if (options.json) rows.forEach(printRow);
else {
  const lines = rows.map(({ case: name, value, unit, goal, met }) => [
    name,
    `${value} ${unit}`,
    `at most ${goal}`,
    met ? 'met' : 'NOT MET',
  ]);
  printTable([['case', 'value', 'goal', 'verdict'], ...lines]);
  const { pushes, changes, restarts } = counts;
  say(
    `\n${pushes} policies pushed, ${changes} changes of the endpoints, ${restarts} nodes drained and started again; seed ${seed}; ${seconds} s`,
  );
  say(
    `memory at the end: ${[fleet.caller, fleet.steady].map(({ rssMb }) => `${rssMb.at(-1)?.toFixed(0)} MB`).join(', ')}`,
  );
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);

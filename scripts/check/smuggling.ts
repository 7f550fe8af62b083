/**
 * Sends every case of test/proxy/smuggling to our mesh port, and to nginx and HAProxy where they are installed, each in front of an application
 * that records what comes, and says what each did: refused it, forwarded what it understood in its own words, or forwarded the very bytes. With
 * ours, origin and client must see the same in each case: the requests that were seen are those that were answered. `--json` prints one object
 * a row, where `value` is how often that did not hold. The exit code is 1 when it did not hold with ours, or ours did not do as it says.
 */
import { parseArgs } from 'node:util';
import { Mesh } from '../../test/fixtures/proxy-node.ts';
import type { RequestCase, ResponseCase } from '../../test/proxy/smuggling/case.ts';
import { framingCases } from '../../test/proxy/smuggling/framing-cases.ts';
import { headCases } from '../../test/proxy/smuggling/head-cases.ts';
import { ourDoor } from '../../test/proxy/smuggling/our-door.ts';
import { peerDoor, peers, whyMissing } from '../../test/proxy/smuggling/peers.ts';
import { responses } from '../../test/proxy/smuggling/response-cases.ts';
import { type Door, type Outcome, tryRequest, tryResponse } from '../../test/proxy/smuggling/trial.ts';
import { printRow, printTable, say } from './rows.ts';

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, only: { type: 'string', default: '' } },
});

interface Trial {
  readonly name: string;
  readonly case: RequestCase | ResponseCase;
  run(door: Door): Promise<Outcome>;
}

const trials: readonly Trial[] = [
  ...[...framingCases, ...headCases].map(trial => ({
    name: trial.name,
    case: trial,
    run: (door: Door) => tryRequest(door, trial),
  })),
  ...responses.map(trial => ({
    name: `response: ${trial.name}`,
    case: trial,
    run: (door: Door) => tryResponse(door, trial),
  })),
].filter(({ name }) => name.includes(options.only));

const ends: (() => unknown)[] = [];
const owner = { teardown: (end: () => unknown) => ends.push(end) };

async function openDoors(): Promise<readonly Door[]> {
  const doors: Door[] = [];
  for (const peer of peers) {
    const why = whyMissing(peer);
    if (why === undefined) doors.push(await peerDoor(owner, peer));
    else process.stderr.write(`skipped: ${why}\n`);
  }
  return [...doors, await ourDoor(owner, new Mesh())];
}

/** What ours did wrong. */
function wrongOf({ case: trial }: Trial, { verdict, breaches }: Outcome): readonly string[] {
  return verdict === trial.ours ? breaches : [...breaches, `expected to be ${trial.ours}, was ${verdict}`];
}

async function run(doors: readonly Door[]): Promise<boolean> {
  const lines: string[][] = [['case', ...doors.map(door => door.name), 'seen as answered']];
  let holds = trials.length > 0;
  for (const trial of trials) {
    const outcomes = await Promise.all(doors.map(door => trial.run(door)));
    const ours = outcomes.at(-1);
    const wrong = ours === undefined ? ['ours was not asked'] : wrongOf(trial, ours);
    holds &&= wrong.length === 0;
    for (const breach of wrong) process.stderr.write(`${trial.name}: ${breach}\n`);
    const verdicts = outcomes.map(({ verdict, breaches }) => (breaches.length > 0 ? `${verdict} (!)` : verdict));
    lines.push([trial.name, ...verdicts, wrong.length === 0 ? 'yes' : 'NO']);
    if (!options.json) continue;
    const unit = `breaches; ${doors.map(({ name }, i) => `${name} ${verdicts[i]}`).join(', ')}`;
    printRow({
      case: trial.name,
      value: wrong.length,
      unit,
      peer: null,
      ratio: null,
      goal: 0,
      met: wrong.length === 0,
    });
  }
  if (options.json) return holds;
  printTable(lines);
  say('\n(!): what the origin saw is not what the clients were answered, or a lax reader sees other requests in it');
  say(`${lines.slice(1).filter(cells => cells.at(-1) === 'yes').length} of ${trials.length} cases hold with ours`);
  return holds;
}

try {
  if (!(await run(await openDoors()))) process.exitCode = 1;
} finally {
  for (const end of ends.reverse()) await end();
}

/**
 * `npm run bench:proxy`: what a request costs in this proxy and in others, one core each, all in one interleaved run. Ours, nginx and
 * HAProxy check a policy, count, limit and write an access log for each request. Options: `--seconds S` a round (4), `--rounds N` (5),
 * `--only NAMES` of proxies or cases, `--json`. Takes a quarter of an hour.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Case, cases, idleConnections, leastResumed, mostIdleMb } from './proxy/cases.ts';
import { writeCredentials } from './proxy/credentials.ts';
import { type BenchSettings, type Figures, measureCase, measureIdle, startOrigin } from './proxy/measure.ts';
import { peers } from './proxy/peers.ts';
import { cores, isInstalled } from './proxy/processes.ts';
import { printRows, type Row } from './table.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    rounds: { type: 'string', default: '5' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const memoryCase = `resident memory with ${idleConnections} idle connections`;
const wanted = values.only?.split(',') ?? [];
const say = (sentence: string) => console.error(sentence);
/** Without --only everything; with names of proxies alone all cases, with names of cases alone all proxies. */
const isWanted = (name: string, all: readonly string[]) =>
  wanted.includes(name) || !wanted.some(other => all.includes(other));

const caseKeys = [...cases.map(({ key }) => key), 'idle'];
const proxyNames = Object.keys(peers);
const unknown = wanted.filter(name => ![...caseKeys, ...proxyNames].includes(name));
if (unknown.length > 0) {
  say(`--only: expected names of proxies (${proxyNames.join(', ')}) or cases (${caseKeys.join(', ')}), got ${unknown}`);
  process.exit(2);
}
if (!isInstalled('openssl')) {
  say('bench:proxy needs openssl, which is not installed');
  process.exit(2);
}
if (cores === undefined)
  say('proxies and load share their cores, for there is one alone or no taskset: trust the ratios less');

const dir = mkdtempSync(join(tmpdir(), 'mesolite-bench-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
const rows = await run(dir);
printRows(rows, values.json);
process.exitCode = rows.every(row => row.met) ? 0 : 1;

async function run(dir: string): Promise<readonly Row[]> {
  writeCredentials(dir);
  const origin = await startOrigin(dir);
  try {
    const [rounds, seconds] = [Number(values.rounds), Number(values.seconds)];
    return await measureAll({ dir, originPort: origin.port, rounds, seconds, say });
  } finally {
    await origin.stop();
  }
}

async function measureAll(settings: BenchSettings): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const what of cases.filter(({ key }) => isWanted(key, caseKeys))) {
    const proxies = what.proxies.filter(name => isWanted(name, proxyNames));
    const figures = await measureCase(settings, { ...what, proxies });
    if (!values.json) printFigures(what.name, figures);
    rows.push(...rowsOf(what, figures));
  }
  if (isWanted('idle', caseKeys)) {
    const names = ['mesolite', 'nginx', 'haproxy', 'caddy'].filter(name => isWanted(name, proxyNames));
    rows.push(...memoryRows(await measureIdle(settings, names, idleConnections)));
  }
  return rows;
}

function rowsOf(what: Case, figures: ReadonlyMap<string, Figures>): readonly Row[] {
  const rows = what.goals.flatMap(({ own, peer, most, figure = 'cpuUs' }) => {
    const value = figures.get(own)?.[figure];
    const peerValue = figures.get(peer)?.[figure];
    if (value === undefined || peerValue === undefined) return [];
    const name = own === 'mesolite' ? what.name : `${what.name} (${own})`;
    const unit = figure === 'cpuUs' ? 'us of CPU' : 'us, p99';
    const goal = `at most ${most} x the peer`;
    return [
      { case: name, value, unit, peer, peerValue, ratio: peerValue / value, goal, met: value <= most * peerValue },
    ];
  });
  return what.load.resume === true ? [...rows, ...resumedRows(figures)] : rows;
}

function resumedRows(figures: ReadonlyMap<string, Figures>): readonly Row[] {
  const value = figures.get('mesolite')?.resumed;
  const peerValue = figures.get('nginx')?.resumed ?? 1;
  if (value === undefined) return [];
  const goal = `at least ${leastResumed}`;
  const shared = { unit: 'of all', peer: 'nginx', peerValue, ratio: value / peerValue, goal };
  return [{ case: 'connections resumed', value, ...shared, met: value >= leastResumed }];
}

function memoryRows(memory: ReadonlyMap<string, number>): readonly Row[] {
  const value = memory.get('mesolite');
  if (value === undefined) return [];
  const goal = `at most ${mostIdleMb} MB`;
  return [...memory].flatMap(([peer, peerValue]) =>
    peer === 'mesolite'
      ? []
      : [
          {
            case: memoryCase,
            value,
            unit: 'MB',
            peer,
            peerValue,
            ratio: peerValue / value,
            goal,
            met: value <= mostIdleMb,
          },
        ],
  );
}

function printFigures(title: string, figures: ReadonlyMap<string, Figures>): void {
  console.log(`\n${title}`);
  for (const [name, { cpuUs, spread, perSecond, p50Us, p99Us, errors }] of figures) {
    const cost = `${cpuUs.toFixed(1).padStart(8)} us ± ${(spread * 100).toFixed(0)} %`;
    const times = `p50 ${p50Us} us  p99 ${p99Us} us`;
    console.log(
      `  ${name.padEnd(15)}${cost.padEnd(20)}${perSecond.toFixed(0).padStart(7)}/s  ${times}${errors > 0 ? `  ${errors} ERRORS` : ''}`,
    );
  }
}

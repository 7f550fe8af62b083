/**
 * `npm run bench:footprint`: what an agent with its proxy takes of its board, a whole process that has joined and runs one task, beside what
 * Debian has for parts of its job and Node with nothing of ours, all at rest at the same time. Options: `--minutes M` at rest (3),
 * `--requests N` (1000000), `--settle S` seconds before either is looked at (30), `--flags "…"` for Node in place of the profile's, `--json`.
 * Takes seven minutes.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { agentNodeFlags, eventually } from '../quickstart/programs.ts';
import { Node } from './footprint/node.ts';
import { clientName, nodeName, type Peers, proxyNames, startPeers } from './footprint/peers.ts';
import { measureSteady, median, memoryOf, type Steady } from './footprint/process-figures.ts';
import { writeCredentials } from './proxy/credentials.ts';
import { type BenchSettings, loadCommand, measureIdle, runLoad, startOrigin } from './proxy/measure.ts';
import { isInstalled, RunningProgram } from './proxy/processes.ts';
import { noPeer, printRows, type Row } from './table.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '3' },
    requests: { type: 'string', default: '1000000' },
    settle: { type: 'string', default: '30' },
    flags: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const [minutes, requests, settleSeconds] = [Number(values.minutes), Number(values.requests), Number(values.settle)];
const nodeFlags = values.flags?.split(' ').filter(flag => flag !== '') ?? agentNodeFlags;
const say = (sentence: string) => console.error(sentence);

/** As often as an agent of the same heartbeat is heard. */
const keepaliveSeconds = 10;
const idleConnections = 1000;
/** For the peers, whose handshakes are quick. */
const idleSeconds = 10;
const longestIdleMs = 90_000;
const callers = 32;
const roundSeconds = 10;
const laterStarts = 3;

if (!isInstalled('openssl')) {
  say('bench:footprint needs openssl, which is not installed');
  process.exit(2);
}
const dir = mkdtempSync(join(tmpdir(), 'mesolite-footprint-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
writeCredentials(dir);
const origin = await startOrigin(dir);
const settings: BenchSettings = { dir, originPort: origin.port, rounds: 1, seconds: idleSeconds, say };
let rows: readonly Row[];
try {
  const peers = await startPeers(settings, keepaliveSeconds, nodeFlags);
  try {
    rows = await measure(peers);
  } finally {
    await peers.stop();
  }
} finally {
  await origin.stop();
}
printRows(rows, values.json);
process.exitCode = rows.every(row => row.met) ? 0 : 1;

async function measure(peers: Peers): Promise<readonly Row[]> {
  const node = new Node(dir, nodeFlags);
  try {
    await node.prepare();
    const joinedMs = await node.start();
    await node.untilServing();
    await settle();
    say(`at rest for ${minutes} min`);
    const own = { pid: node.pid, port: node.brokerPort };
    const all = await measureSteady(new Map([['mesolite', own], ...peers.processes]), minutes);
    const steady = all.get('mesolite');
    if (steady === undefined) throw new Error('the agent was not measured');
    const afterMb = await residentAfterRequests(node);
    const startMs = await startAgain(node);
    await node.untilServing();
    await settle();
    const idleMb = await residentWithIdle(node);
    const peersIdle = await measureIdle(settings, proxyNames.filter(isInstalled), idleConnections);
    return [
      ...steadyRows(steady, all),
      ...beside(`resident memory with ${idleConnections} idle connections`, idleMb, 'MB', 110, peersIdle),
      alone('first start to joined', joinedMs / 1000, 's', 1),
      alone('later start to linked', startMs / 1000, 's', 1),
      alone(`resident memory after ${requests} requests`, afterMb / steady.residentMb, 'of before', 1.15),
    ];
  } finally {
    await node.stop();
  }
}

/** Until what has just happened is over: V8 gives memory back seconds after its last work. */
function settle(): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, settleSeconds * 1000));
}

async function residentAfterRequests(node: Node): Promise<number> {
  const load = await node.load({ connections: callers, seconds: roundSeconds, mode: 'loop' });
  for (let done = 0; done < requests; ) {
    const round = await runLoad(load);
    if (round.errors > 0 || round.done === 0) throw new Error(`${round.errors} of ${round.done} requests went wrong`);
    done += round.done;
    say(`${done} of ${requests} requests`);
  }
  await settle();
  return memoryOf(node.pid).residentMb;
}

async function residentWithIdle(node: Node): Promise<number> {
  const open = () => readdirSync(`/proc/${node.pid}/fd`).length;
  const before = open();
  const options = await node.load({ connections: idleConnections, seconds: longestIdleMs / 1000, mode: 'idle' });
  const load = new RunningProgram('load', loadCommand(options), join(dir, 'idle.out'));
  try {
    const all = () => open() - before >= idleConnections || undefined;
    await eventually(`${idleConnections} idle connections`, longestIdleMs, all);
    await new Promise(resolve => setTimeout(resolve, 1000));
    return memoryOf(node.pid).residentMb;
  } finally {
    await load.stop();
  }
}

async function startAgain(node: Node): Promise<number> {
  const all: number[] = [];
  for (let i = 0; i < laterStarts; i++) {
    await node.stopAgent();
    all.push(await node.start());
  }
  return median(all);
}

function steadyRows(steady: Steady, all: ReadonlyMap<string, Steady>): readonly Row[] {
  const of = (key: keyof Steady, scale: number, names: readonly string[]) =>
    new Map(names.flatMap(name => (all.has(name) ? [[name, scale * (all.get(name)?.[key] ?? 0)] as const] : [])));
  const everybody = [...proxyNames, clientName, nodeName];
  return [
    ...beside('resident memory', steady.residentMb, 'MB', 55, of('residentMb', 1, everybody)),
    ...beside('anonymous memory', steady.anonymousMb, 'MB', 17, of('anonymousMb', 1, everybody)),
    ...beside('CPU', 100 * steady.cpu, '% of a core', 0.05, of('cpu', 100, everybody)),
    ...beside('written', steady.writtenPerHour, 'bytes an hour', 0, of('writtenPerHour', 1, [clientName])),
    ...beside(
      'carried by TCP to and from the master',
      steady.carriedPerMinute,
      'bytes a minute',
      600,
      of('carriedPerMinute', 1, [clientName]),
    ),
  ];
}

/** Less is better. */
function beside(
  name: string,
  value: number,
  unit: string,
  most: number,
  peers: ReadonlyMap<string, number>,
): readonly Row[] {
  const alike = { ...alone(name, value, unit, most) };
  const rows = [...peers].map(([peer, peerValue]) => ({ ...alike, peer, peerValue, ratio: peerValue / value }));
  return rows.length > 0 ? rows : [alike];
}

function alone(name: string, value: number, unit: string, most: number): Row {
  const goal = `at most ${most} ${unit}`;
  return { case: name, value, unit, peer: noPeer, peerValue: Number.NaN, ratio: Number.NaN, goal, met: value <= most };
}

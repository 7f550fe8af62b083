/**
 * Lets slowhttptest hold connections with slow heads, slow bodies, slow readers and ranges, at the port for tasks and (through a bridge that does
 * mutual TLS for it, from an address of its own) at the mesh port. Meanwhile another client must be served, and memory must stay bounded.
 * `--seconds N` of each; `--json` prints one object a row. The exit code is 1 when a goal is not met.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import { connect } from 'node:tls';
import { parseArgs } from 'node:util';
import { serverNameOf } from '../../test/fixtures/proxy-node.ts';
import { Caller, plainCall, type Way } from './proxy/calls.ts';
import { Fleet } from './proxy/fleet.ts';
import { printRow, printTable, type Row, say } from './rows.ts';

/** More than half of the connections that the proxies here take, and more than all that they open to an application. */
const attackers = 400;
const pauseMs = 50;
/** Whoever waits for an attacker's connection to end waits longer. */
const maxLatencyMs = 5_000;
const maxGrowthMb = 64;

const attacks = {
  'slow heads': ['-H', '-i', '2'],
  'slow bodies': ['-B', '-i', '2', '-s', '100000'],
  'slow readers': ['-X', '-w', '1', '-y', '256', '-n', '5', '-z', '32', '-k', '1'],
  ranges: ['-R', '-a', '5', '-b', '3000'],
} as const;

const { values: options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, seconds: { type: 'string', default: '15' } },
});
const seconds = Number(options.seconds);
if (!Number.isSafeInteger(seconds) || seconds < 1) throw new Error(`expected a whole number, got ${options.seconds}`);

/** A plain port whose connections go on to the mesh port, as another caller and from another address. */
async function openBridge(fleet: Fleet): Promise<readonly [Server, number]> {
  const { keyPem, chainPem } = fleet.mesh.identity('slow');
  const server = createServer(client => {
    const upstream = connect({
      host: '127.0.0.1',
      port: fleet.steady.meshPort,
      ...{ localAddress: '127.0.0.2' },
      servername: serverNameOf('web'),
      key: keyPem,
      cert: chainPem,
      ca: fleet.mesh.authority.authority.rootPem,
      checkServerIdentity: () => undefined,
    });
    client.on('error', () => upstream.destroy());
    upstream.on('error', () => client.destroy());
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return [server, typeof address === 'object' && address !== null ? address.port : 0];
}

/** What another client saw meanwhile. */
interface Seen {
  calls: number;
  failures: number;
  slowestMs: number;
}

async function callUntil(signal: AbortSignal, caller: Caller, way: Way): Promise<Seen> {
  const seen: Seen = { calls: 0, failures: 0, slowestMs: 0 };
  while (!signal.aborted) {
    const begun = performance.now();
    const status = await caller.call(way, plainCall(++seen.calls)).then(
      answer => answer.status,
      () => 0,
    );
    if (status !== 200) seen.failures++;
    seen.slowestMs = Math.max(seen.slowestMs, performance.now() - begun);
    await setTimeout(pauseMs);
  }
  return seen;
}

async function attack(args: readonly string[], port: number): Promise<void> {
  const url = `http://127.0.0.1:${port}/always/?size=1000000`;
  const all = [...args, '-c', String(attackers), '-r', '200', '-l', String(seconds), '-v', '0', '-u', url];
  await once(spawn('slowhttptest', all, { stdio: 'ignore' }), 'exit');
}

function row(name: string, value: number, unit: string, goal: number): Row {
  const rounded = Math.round(value);
  return { case: name, value: rounded, unit, peer: null, ratio: null, goal, met: rounded <= goal };
}

async function suffer(fleet: Fleet, name: string, way: Way, args: readonly string[], port: number): Promise<Row[]> {
  const node = way === 'mesh' ? fleet.steady : fleet.caller;
  const caller = new Caller(fleet);
  const end = new AbortController();
  fleet.measure();
  await setTimeout(pauseMs);
  const before = node.rssMb.at(-1) ?? 0;
  const [seen] = await Promise.all([
    callUntil(end.signal, caller, way),
    attack(args, port).then(() => {
      fleet.measure();
      end.abort();
    }),
  ]);
  caller.close();
  return [
    row(`${name}: calls of others that failed`, seen.failures, `of ${seen.calls} calls`, 0),
    row(`${name}: slowest call of others`, seen.slowestMs, 'ms', maxLatencyMs),
    row(`${name}: growth of memory`, (node.rssMb.at(-1) ?? 0) - before, 'MB', maxGrowthMb),
  ];
}

if (spawnSync('slowhttptest', ['-h']).error !== undefined) {
  process.stderr.write('skipped: slowhttptest is not installed (Debian: apt-get install slowhttptest)\n');
  process.exit();
}
const fleet = new Fleet();
await fleet.start();
const [bridge, bridgePort] = await openBridge(fleet);
const rows: Row[] = [];
for (const [name, args] of Object.entries(attacks)) {
  rows.push(...(await suffer(fleet, `${name}, mesh port`, 'mesh', args, bridgePort)));
  rows.push(...(await suffer(fleet, `${name}, task port`, 'http', args, fleet.caller.outboundPort)));
  if (options.json) rows.slice(-6).forEach(printRow);
  else say(`${name}: done`);
}
bridge.close();
await fleet.stop();
if (!options.json) {
  const lines = rows.map(each => [
    each.case,
    `${each.value} ${each.unit}`,
    `at most ${each.goal}`,
    each.met ? 'met' : 'NOT MET',
  ]);
  printTable([['case', 'value', 'goal', 'verdict'], ...lines]);
}
process.exit(rows.every(({ met }) => met) ? 0 : 1);

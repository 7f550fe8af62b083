/** Runs the proxies of one case side by side and loads them by turns, so that all meet the same machine. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from './cases.ts';
import type { LoadOptions, LoadResult } from './load.ts';
import { credentialsOf, type Launch, type Peer, peers, type Role } from './peers.ts';
import { cpuSeconds, freePort, isInstalled, RunningProgram, residentMb, runToEnd } from './processes.ts';

/** The median of all rounds. */
export interface Figures {
  /** CPU time of the proxy for one answered request, all its processes and threads. */
  readonly cpuUs: number;
  /** Half the range of `cpuUs`, as a share of it. */
  readonly spread: number;
  readonly perSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly resumed: number;
  readonly errors: number;
}

export interface BenchSettings {
  /** Holds all files of the run. */
  readonly dir: string;
  readonly originPort: number;
  readonly rounds: number;
  readonly seconds: number;
  /** Is told what is left out, and why. */
  readonly say: (sentence: string) => void;
}

export interface RunningProxy {
  readonly name: string;
  readonly port: number;
  readonly sides: readonly RunningProgram[];
}

const loadScript = fileURLToPath(new URL('load.js', import.meta.url));
const originScript = fileURLToPath(new URL('origin.js', import.meta.url));
const warmUpSeconds = 1.5;
const graceMs = 20_000;

/** The application behind all proxies. */
export async function startOrigin(dir: string): Promise<{ readonly port: number; stop(): Promise<void> }> {
  const port = await freePort();
  const command = [process.execPath, originScript, String(port)];
  const program = new RunningProgram('load', { command }, join(dir, 'origin.out'));
  await program.listening(port);
  return { port, stop: () => program.stop() };
}

/** The figures of each proxy of a case that could be started. */
export async function measureCase(settings: BenchSettings, what: Case): Promise<ReadonlyMap<string, Figures>> {
  const proxies = await startAll(settings, what.proxies, what.way);
  try {
    const rounds = new Map(proxies.map(({ name }) => [name, [] as Figures[]]));
    for (const proxy of proxies) await loadOnce(settings, what, proxy, Math.min(warmUpSeconds, settings.seconds));
    for (let round = 0; round < settings.rounds; round++) {
      for (const proxy of round % 2 === 0 ? proxies : proxies.toReversed()) {
        rounds.get(proxy.name)?.push(await loadOnce(settings, what, proxy, settings.seconds));
      }
    }
    return new Map([...rounds].map(([name, all]) => [name, medians(all)]));
  } finally {
    await stopAll(proxies);
  }
}

/** Resident memory of each proxy in megabytes, while so many clients are connected and idle. */
export async function measureIdle(
  settings: BenchSettings,
  names: readonly string[],
  connections: number,
): Promise<ReadonlyMap<string, number>> {
  const proxies = await startAll(settings, names, 'inbound');
  const memory = new Map<string, number>();
  const seconds = Math.max(settings.seconds, connections / 200);
  try {
    for (const proxy of proxies) {
      const load = runLoad({ ...loadOptions(settings, proxy, seconds + 1), connections, mode: 'idle' });
      await new Promise(resolve => setTimeout(resolve, seconds * 1000));
      memory.set(
        proxy.name,
        proxy.sides.map(({ pid }) => residentMb(pid)).reduce((a, b) => a + b),
      );
      const { handshakes } = await load;
      if (handshakes < connections) settings.say(`${proxy.name}: only ${handshakes} of ${connections} are connected`);
    }
  } finally {
    await stopAll(proxies);
  }
  return memory;
}

export async function startAll(
  settings: BenchSettings,
  names: readonly string[],
  way: Case['way'],
): Promise<RunningProxy[]> {
  const started: RunningProxy[] = [];
  try {
    for (const name of names) {
      const peer = peers[name];
      if (peer === undefined) throw new Error(`there is no proxy ${name}`);
      if (isInstalled(peer.program)) started.push(await start(settings, name, peer, way));
      else settings.say(`${name} is left out: ${peer.program} is not installed`);
    }
    return started;
  } catch (error) {
    await stopAll(started);
    throw error;
  }
}

async function start(
  { dir, originPort }: BenchSettings,
  name: string,
  peer: Peer,
  way: Case['way'],
): Promise<RunningProxy> {
  const roles: readonly Role[] = way === 'inbound' ? ['inbound'] : ['inbound', 'outbound'];
  const sides: RunningProgram[] = [];
  let upstreamPort = originPort;
  for (const role of roles) {
    const port = await freePort();
    const label = `${name}-${role}`;
    const program = new RunningProgram(
      'proxy',
      peer.launch({ dir, label, role, port, upstreamPort }),
      join(dir, `${label}.out`),
    );
    sides.push(program);
    try {
      await program.listening(port);
    } catch (cause) {
      for (const side of sides) await side.stop();
      throw new Error(`${label} cannot be measured, see ${join(dir, label)}.out`, { cause });
    }
    upstreamPort = port;
  }
  return { name, port: upstreamPort, sides };
}

export async function stopAll(proxies: readonly RunningProxy[]): Promise<void> {
  await Promise.all(proxies.flatMap(({ sides }) => sides.map(side => side.stop())));
}

async function loadOnce(settings: BenchSettings, what: Case, proxy: RunningProxy, seconds: number): Promise<Figures> {
  const options = { ...loadOptions(settings, proxy, seconds, what), ...what.load };
  const cpu = () => proxy.sides.map(({ pid }) => cpuSeconds(pid)).reduce((a, b) => a + b);
  const before = cpu();
  const result = await runLoad(options);
  const spent = cpu() - before;
  const { done, seconds: elapsed, p50Us, p99Us, handshakes, resumed, errors } = result;
  const rates = {
    cpuUs: (spent * 1e6) / Math.max(1, done),
    perSecond: done / elapsed,
    resumed: resumed / Math.max(1, handshakes),
  };
  return { ...rates, p50Us, p99Us, errors, spread: 0 };
}

function loadOptions({ dir }: BenchSettings, { port, sides }: RunningProxy, seconds: number, what?: Case): LoadOptions {
  const tls = credentialsOf({ dir, label: '', role: 'outbound', port: 0, upstreamPort: 0 });
  const body = what?.load.bodyBytes ?? 0;
  const lines = [
    `${body > 0 ? 'POST' : 'GET'} /${what?.answerBytes ?? 100} HTTP/1.1`,
    'Host: app.default.mesh',
    'User-Agent: bench/1.0',
    'Accept: */*',
    'X-Request-Id: 7f3c0a1e-5b1d-4a55-9c7e-0e1f2a3b4c5d',
    ...(body > 0 ? [`Content-Length: ${body}`] : []),
  ];
  const common = {
    port,
    connections: 1,
    seconds,
    head: `${lines.join('\r\n')}\r\n\r\n`,
    bodyBytes: body,
    mode: 'loop',
  } as const;
  return sides.length > 1 ? common : { ...common, tls };
}

export function loadCommand(options: LoadOptions): Launch {
  return { command: [process.execPath, loadScript, JSON.stringify(options)] };
}

export async function runLoad(options: LoadOptions): Promise<LoadResult> {
  const { command } = loadCommand(options);
  return JSON.parse(await runToEnd('load', command, options.seconds * 1000 + graceMs));
}

function medians(rounds: readonly Figures[]): Figures {
  const of = (key: keyof Figures) => median(rounds.map(figures => figures[key]));
  const costs = rounds.map(({ cpuUs }) => cpuUs);
  const cpuUs = of('cpuUs');
  return {
    cpuUs,
    spread: (Math.max(...costs) - Math.min(...costs)) / 2 / cpuUs,
    perSecond: of('perSecond'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    resumed: of('resumed'),
    errors: rounds.reduce((sum, { errors }) => sum + errors, 0),
  };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle)] ?? 0)) / 2;
}

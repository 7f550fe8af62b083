/** Programs that a benchmark runs beside itself, each on a core of its own, and what they cost. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';
import type { Launch } from './peers.ts';

/** Debian keeps nginx and haproxy where a user's PATH does not look. */
const path = `${process.env.PATH ?? ''}:/usr/sbin:/usr/local/sbin`;
const startMs = 20_000;
const stopMs = 5_000;

export function isInstalled(program: string): boolean {
  try {
    execFileSync('sh', ['-c', `command -v "${program}"`], { env: { PATH: path }, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Proxies have core 0 to themselves, all else is on core 1; undefined where that cannot be had. */
export const cores = availableParallelism() > 1 && isInstalled('taskset') ? { proxy: 0, load: 1 } : undefined;

type Place = 'proxy' | 'load';

function pinned(on: Place, command: readonly string[]): readonly [string, readonly string[]] {
  const [program = '', ...args] = cores === undefined ? command : ['taskset', '-c', String(cores[on]), ...command];
  return [program, args];
}

/** One program, from its start until `stop`. */
export class RunningProgram {
  readonly pid: number;
  readonly #closed: Promise<void>;
  readonly #kill: (signal: NodeJS.Signals) => void;
  #ended = false;

  /** Its output goes to the file `log`. */
  constructor(on: Place, { command, env }: Launch, log: string) {
    const output = openSync(log, 'w');
    const [program, args] = pinned(on, command);
    const child = spawn(program, args, {
      env: { ...process.env, PATH: path, ...env },
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    this.pid = child.pid ?? 0;
    this.#kill = signal => child.kill(signal);
    this.#closed = new Promise(resolve => {
      child.on('error', () => {});
      child.on('close', () => {
        this.#ended = true;
        resolve();
      });
    });
  }

  /** Resolves when it takes connections; throws when it ends before, or not in time. */
  async listening(port: number): Promise<void> {
    const end = performance.now() + startMs;
    while (!(await takesConnections(port))) {
      if (this.#ended) throw new Error('it ended as it began');
      if (performance.now() > end) throw new Error(`it does not listen after ${startMs / 1000} s`);
      await new Promise(resolve => setTimeout(resolve, 50));
    }
  }

  async stop(): Promise<void> {
    if (this.#ended) return;
    this.#kill('SIGTERM');
    const hard = setTimeout(() => this.#kill('SIGKILL'), stopMs);
    await this.#closed;
    clearTimeout(hard);
  }
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** Runs to its end; resolves to what it printed. */
export async function runToEnd(on: Place, command: readonly string[], timeoutMs: number): Promise<string> {
  const [program, args] = pinned(on, command);
  const { stdout } = await promisify(execFile)(program, args, { timeout: timeoutMs });
  return stdout;
}

/** A port of loopback that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** CPU time of all threads of a process so far, in seconds. */
export function cpuSeconds(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
  }
  return nanoseconds / 1e9;
}

/** Resident memory in megabytes. */
export function residentMb(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) / 1024;
}

import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultRuntime, mallocOf, nodeFlagsOf } from '../../src/model/runtime.ts';

/** A role of Mesolite as a process of its own, its output in a file. */
export interface Role {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** The exit code, once it has ended. */
  readonly ended: Promise<number | null>;
  /** SIGTERM, and SIGKILL for one that is not gone after ten seconds. */
  stop(): Promise<void>;
}

/**
 * How Node should run an agent on a small board: a young generation of 1 MB, no threads of V8's own, and garbage collected when the agent
 * says so. It is what its steady memory is made of, and the proxy is the faster for it. `--optimize-for-size` would save 2 MB and cost a
 * tenth of its CPU.
 */
export const agentNodeFlags = nodeFlagsOf(defaultRuntime);

/** And glibc: what is freed goes back to the system at once, and all threads share one heap. */
export const agentEnvironment = mallocOf(defaultRuntime);

export const mainFile = join(import.meta.dirname, '..', '..', 'dist', 'main.js');

/** Starts `mesolite ...args`; `nodeFlags` go to Node itself. */
export function startRole(
  name: string,
  args: readonly string[],
  logFile: string,
  nodeFlags: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Role {
  const log = openSync(logFile, 'a', 0o600);
  // a group of its own: Ctrl-C is for the quickstart, which ends its roles in their order
  const stdio = ['ignore', log, log] as const;
  const options = { stdio: [...stdio], detached: true, env: { ...process.env, ...env } };
  const child = spawn(process.execPath, [...nodeFlags, mainFile, ...args], options);
  closeSync(log);
  const ended = new Promise<number | null>(resolve => child.once('exit', resolve));
  return { name, pid: child.pid ?? 0, logFile, ended, stop: () => stop(child, ended) };
}

async function stop(child: ChildProcess, ended: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM');
  const lastResort = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await ended;
  clearTimeout(lastResort);
}

/** What a role said last that is more than information: the reason why it did not start. */
export function lastWords({ logFile }: Role): string {
  const lines = readFileSync(logFile, 'utf8').trim().split('\n');
  const plain = lines.findLast(line => line.startsWith('mesolite: '));
  return plain?.slice('mesolite: '.length) ?? lines.at(-1) ?? 'it said nothing';
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command `mesolite`, as a user would type it, with the quickstart's own context. */
export function makeMesolite(configFile: string) {
  const env = { ...process.env, MESOLITE_CONFIG: configFile };

  function run(...args: string[]): Promise<CommandResult> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [mainFile, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', text => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', text => {
        stderr += text;
      });
      child.once('error', reject);
      child.once('close', code => resolve({ code, stdout, stderr }));
    });
  }

  /** Its output; throws what it said when it failed. */
  async function text(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await run(...args);
    if (code !== 0) throw new Error(`\`mesolite ${args.join(' ')}\` failed: ${stderr.trim()}`);
    return stdout;
  }

  /** Its output as the list that `-o json` prints under `name`. */
  async function list<T>(name: string, ...args: string[]): Promise<T[]> {
    const answer: Record<string, T[]> = JSON.parse(await text(...args, '-o', 'json'));
    return answer[name] ?? [];
  }

  return { run, text, list };
}

export type Mesolite = ReturnType<typeof makeMesolite>;

/** Where a processor is computed by another (qemu) everything takes so many times as long. */
export const patience = Number(process.env.MESOLITE_PATIENCE ?? 1);

/** Asks again until there is an answer; throws, saying what was waited for, when the time is up. */
export async function eventually<T>(
  what: string,
  withinMs: number,
  ask: () => Promise<T | undefined> | T | undefined,
  everyMs = 100,
): Promise<T> {
  const end = performance.now() + withinMs * patience;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > end) throw new Error(`${what}: not within ${(withinMs * patience) / 1000} s`);
    await new Promise(resolve => setTimeout(resolve, everyMs * patience));
  }
}

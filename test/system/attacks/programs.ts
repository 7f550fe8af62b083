import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';

const mainFile = join(import.meta.dirname, '..', '..', '..', 'dist', 'main.js');

/** A `mesolite` process, its output in a file. */
export interface Program {
  readonly ended: Promise<number | null>;
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** Starts `mesolite ...args` as a process of its own. */
export function startProgram(args: readonly string[], logFile: string, env: NodeJS.ProcessEnv = {}): Program {
  const log = openSync(logFile, 'a', 0o600);
  const child = spawn(process.execPath, [mainFile, ...args], {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...env },
  });
  closeSync(log);
  const ended = new Promise<number | null>(resolve => child.once('exit', resolve));
  return { ended, stop: (signal = 'SIGTERM') => stop(child, ended, signal) };
}

async function stop(child: ChildProcess, ended: Promise<unknown>, signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
  child.kill(signal);
  const lastResort = setTimeout(() => child.kill('SIGKILL'), 15_000);
  await ended;
  clearTimeout(lastResort);
}

/** The environment in which a program's clock shows `time`, as faketime(1) takes it; undefined where faketime is not. */
export function wrongClock(time: string): NodeJS.ProcessEnv | undefined {
  const { status, stdout } = spawnSync('faketime', ['-f', '+0', 'printenv', 'LD_PRELOAD'], { encoding: 'utf8' });
  if (status !== 0) return undefined;
  // monotonic time is no matter of a clock that is set wrongly
  return { LD_PRELOAD: stdout.trim(), FAKETIME: time, FAKETIME_DONT_FAKE_MONOTONIC: '1', DONT_FAKE_MONOTONIC: '1' };
}

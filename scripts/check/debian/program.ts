import { spawn } from 'node:child_process';

export interface Ended {
  readonly code: number | null;
  /** What it wrote, standard error with it. */
  readonly output: string;
}

/** Runs a program to its end; `timeoutMs` after the start it is killed. */
export function watchProgram(
  program: string,
  args: readonly string[],
  { timeoutMs, cwd }: { readonly timeoutMs?: number; readonly cwd?: string } = {},
): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      killSignal: 'SIGKILL',
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
      ...(cwd === undefined ? {} : { cwd }),
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', text => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', code => resolve({ code, output }));
  });
}

/** As `watchProgram`; throws what it said last when it fails. */
export async function runProgram(
  program: string,
  args: readonly string[],
  settings: { readonly timeoutMs?: number; readonly cwd?: string } = {},
): Promise<string> {
  const { code, output } = await watchProgram(program, args, settings);
  if (code === 0) return output;
  throw new Error(`${program} failed (exit code ${code}): ${output.trim().split('\n').slice(-15).join('\n')}`);
}

import type { Clock } from '../base/clock.ts';
import { onAbort } from '../base/signal.ts';
import { type ExecRequest, startCommand } from './exec.ts';
import type { HealthResult } from './health.ts';

export interface ExecCheck extends Omit<ExecRequest, 'stdin'> {
  /** What stands before the command and is not named in results. */
  readonly prefix?: readonly string[];
  readonly timeoutMs: number;
}

/** Of what a check says so much is told. */
const saidBytes = 256;

/** Runs a program once and says whether it ended with 0, and else what it wrote; one that takes too long is ended with all that it started. */
export async function checkExec(clock: Clock, check: ExecCheck, signal: AbortSignal): Promise<HealthResult> {
  const { prefix = [], command, timeoutMs, ...surroundings } = check;
  const result = (healthy: boolean, seen: string) => ({ healthy, message: `${command[0]}: ${seen}` });
  if (signal.aborted) return result(false, 'not asked');
  let ended: string | undefined;
  try {
    const running = await startCommand({ ...surroundings, command: [...prefix, ...command] });
    const end = (why: string): void => {
      ended = why;
      running.kill();
    };
    let said = '';
    for (const stream of [running.stdout, running.stderr])
      stream.on('data', (chunk: Buffer) => {
        if (said.length < saidBytes) said += chunk.toString('utf8', 0, saidBytes);
      });
    const cancel = clock.after(timeoutMs, () => end(`no end in ${timeoutMs} ms`));
    const forget = onAbort(signal, () => end('not asked to the end'));
    const code = await running.exited;
    cancel();
    forget();
    const words = said.slice(0, saidBytes).trim();
    return result(code === 0 && ended === undefined, ended ?? `exit code ${code}${words === '' ? '' : `: ${words}`}`);
  } catch (error) {
    return result(false, error instanceof Error ? error.message : String(error));
  }
}

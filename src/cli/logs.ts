import type { Command } from 'commander';
import { taskLogSchema } from '../model/api.ts';
import type { OutputFrame } from '../model/output.ts';
import { parseName, parseSince, parseWhole } from './arguments.ts';
import { openSession } from './session.ts';
import { remark, type Shell } from './shell.ts';
import { findTask } from './task-name.ts';

/** As much as the master asks a node for. */
const maxTailBytes = 65_536;

interface LogsOptions {
  readonly follow?: true;
  readonly since?: number;
  readonly stderr?: true;
  readonly tail?: number;
  readonly tailBytes: number;
  readonly namespace?: string;
}

/** `mesolite logs TASK` */
export function addLogs(program: Command, shell: Shell): void {
  const command = program
    .command('logs')
    .description('print the end of a task’s output')
    .argument('<task>', 'its id, the beginning of it, or a job that has one task')
    .option('-f, --follow', 'go on with what it writes, until it ends or Ctrl-C')
    .option('--since <time>', 'only what was written since then: 30m, 1h, or a date', parseSince(shell.now))
    .option('--stderr', 'its standard error instead of its standard output')
    .option('--tail <lines>', 'so many lines from the end', parseWhole(0, 1_000_000))
    .option('--tail-bytes <number>', 'so much from the end', parseWhole(1, maxTailBytes), maxTailBytes)
    .option('-n, --namespace <name>', 'only look in this namespace', parseName);
  command.action(async (text: string, options: LogsOptions) => {
    const api = openSession(shell, command);
    const id = await findTask(api, text, options.namespace);
    const path = `/v1/tasks/${encodeURIComponent(id)}/log?${queryOf(options)}`;
    if (options.follow !== true) shell.stdout.write((await api.get(path, taskLogSchema)).data);
    else await api.stream('GET', path, frame => printFrame(shell, frame));
  });
}

function queryOf({ follow, since, stderr, tail, tailBytes }: LogsOptions): URLSearchParams {
  return new URLSearchParams({
    stream: stderr === true ? 'stderr' : 'stdout',
    tailBytes: String(tailBytes),
    ...(tail !== undefined && { tailLines: String(tail) }),
    ...(since !== undefined && { since: String(since) }),
    ...(follow === true && { follow: 'true' }),
  });
}

function printFrame(shell: Shell, { data, skipped = 0 }: OutputFrame): void {
  if (skipped > 0) remark(shell, `mesolite: ${skipped} bytes were left out: it writes faster than is passed on`);
  if (data !== undefined) shell.stdout.write(data);
}

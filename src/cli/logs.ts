import type { Command } from 'commander';
import { taskLogSchema } from '../model/api.ts';
import { parseName, parseWhole } from './arguments.ts';
import { openSession } from './session.ts';
import type { Shell } from './shell.ts';
import { findTask } from './task-name.ts';

/** As much as the master asks a node for. */
const maxTailBytes = 65_536;

interface LogsOptions {
  readonly stderr?: true;
  readonly tailBytes: number;
  readonly namespace?: string;
}

/** `mesolite logs TASK` */
export function addLogs(program: Command, shell: Shell): void {
  const command = program
    .command('logs')
    .description('print the end of a task’s output')
    .argument('<task>', 'its id, the beginning of it, or a job that has one task')
    .option('--stderr', 'its standard error instead of its standard output')
    .option('--tail-bytes <number>', 'so much from the end', parseWhole(1, maxTailBytes), maxTailBytes)
    .option('-n, --namespace <name>', 'only look in this namespace', parseName);
  command.action(async (text: string, options: LogsOptions) => {
    const api = openSession(shell, command);
    const id = await findTask(api, text, options.namespace);
    const stream = options.stderr === true ? 'stderr' : 'stdout';
    const path = `/v1/tasks/${encodeURIComponent(id)}/log?stream=${stream}&tailBytes=${options.tailBytes}`;
    shell.stdout.write((await api.get(path, taskLogSchema)).data);
  });
}

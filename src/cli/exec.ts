import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { defaultExecTimeoutMs, maxExecStdinBytes } from '../model/output.ts';
import { parseDuration, parseName } from './arguments.ts';
import { CommandEnded } from './exit-codes.ts';
import { openSession } from './session.ts';
import { readStdin, type Shell } from './shell.ts';
import { findTask } from './task-name.ts';

interface ExecOptions {
  readonly stdin?: true;
  readonly timeout: number;
  readonly namespace?: string;
}

/** `mesolite exec TASK -- COMMAND` */
export function addExec(program: Command, shell: Shell): void {
  const command = program
    .command('exec')
    .description('run a command next to a task, with its environment; exit code and output are the command’s')
    .usage('[options] <task> -- <command> [arguments...]')
    .argument('<task>', 'its id, the beginning of it, or a job that has one task')
    .argument('<command...>', 'a program and what it is given; there is no terminal and no shell')
    .option('-i, --stdin', 'give it standard input, all of it at once')
    .option(
      '--timeout <duration>',
      'end it after so long (default 10m, at most 1h)',
      parseDuration,
      defaultExecTimeoutMs,
    )
    .option('-n, --namespace <name>', 'only look in this namespace', parseName);
  command.action(async (text: string, words: readonly string[], options: ExecOptions) => {
    const api = openSession(shell, command);
    const id = await findTask(api, text, options.namespace);
    const stdin = options.stdin === true ? (await readStdin(shell, maxExecStdinBytes)).toString('utf8') : undefined;
    const body = { command: words, timeoutMs: options.timeout, ...(stdin !== undefined && { stdin }) };
    let exit: number | undefined;
    await api.stream(
      'POST',
      `/v1/tasks/${encodeURIComponent(id)}/exec`,
      frame => {
        const to = frame.stream === 'stderr' ? shell.stderr : shell.stdout;
        if (frame.data !== undefined && frame.data !== '') to.write(frame.data);
        exit = frame.exit ?? exit;
      },
      body,
    );
    if (exit === undefined) throw new MesoliteError('UNAVAILABLE', 'it is not known how the command ended');
    if (exit !== 0) throw new CommandEnded(exit);
  });
}

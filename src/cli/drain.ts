import type { Command } from 'commander';
import { drainAnswerSchema } from '../model/api.ts';
import { parseDuration, parseMoment, parseName } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import { printTime } from './readable.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface DrainOptions {
  readonly from?: number;
  readonly until?: number;
  readonly deadline?: number;
  readonly force?: true;
}

/** `mesolite drain NODE` and `mesolite undrain NODE` */
export function addDrain(program: Command, shell: Shell): void {
  const drain = program
    .command('drain')
    .description(
      'give a node no more tasks; its services start elsewhere and then end here, its batch tasks come to their end',
    )
    .argument('<node>', 'as `mesolite get nodes` shows it', parseName)
    .option('--from <when>', 'a window to come: 2h from now, or a date', parseMoment(shell.now))
    .option('--until <when>', 'when it takes tasks again by itself', parseMoment(shell.now))
    .option(
      '--deadline <duration>',
      'end what is still there after so long, whether or not it fits elsewhere',
      parseDuration,
    )
    .option('--force', 'end all that is there at once')
    .action(async (node: string, { from, until, deadline, force }: DrainOptions) => {
      if (force === true && deadline !== undefined) throw usageError('expected --deadline or --force, not both');
      const deadlineMs = force === true ? 0 : deadline;
      const answer = await openSession(shell, drain).post(pathOf(node), { from, until, deadlineMs }, drainAnswerSchema);
      const end = answer.drain?.until ?? null;
      const begin = from === undefined ? 'takes no more tasks' : `will be drained from ${printTime(from)} UTC`;
      print(shell, `node ${node} ${begin}${end === null ? '' : ` until ${printTime(end)} UTC`}`);
      if (answer.tasks > 0)
        remark(
          shell,
          `tasks to leave it: ${answer.tasks}, which end or move now; what keeps one: mesolite get events --node ${node}`,
        );
    });
  const undrain = program
    .command('undrain')
    .description('let a node take tasks again')
    .argument('<node>', 'as `mesolite get nodes` shows it', parseName)
    .action(async (node: string) => {
      await openSession(shell, undrain).delete(pathOf(node), drainAnswerSchema);
      print(shell, `node ${node} takes tasks again`);
    });
}

function pathOf(node: string): string {
  return `/v1/nodes/${encodeURIComponent(node)}/drain`;
}

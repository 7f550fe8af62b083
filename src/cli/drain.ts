import type { Command } from 'commander';
import { drainAnswerSchema } from '../model/api.ts';
import { parseDuration, parseMoment, parseName } from './arguments.ts';
import { printTime } from './readable.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

interface DrainOptions {
  readonly from?: number;
  readonly until?: number;
  readonly deadline?: number;
}

/** `mesolite drain NODE` and `mesolite undrain NODE` */
export function addDrain(program: Command, shell: Shell): void {
  const drain = program
    .command('drain')
    .description('give a node no more tasks; its services start elsewhere, its batch tasks come to their end')
    .argument('<node>', 'as `mesolite get nodes` shows it', parseName)
    .option('--from <when>', 'a window to come: 2h from now, or a date', parseMoment(shell.now))
    .option('--until <when>', 'when it takes tasks again by itself', parseMoment(shell.now))
    .option('--deadline <duration>', 'batch tasks that run on for so long are ended and start elsewhere', parseDuration)
    .action(async (node: string, { from, until, deadline: deadlineMs }: DrainOptions) => {
      const answer = await openSession(shell, drain).post(pathOf(node), { from, until, deadlineMs }, drainAnswerSchema);
      const end = answer.drain?.until ?? null;
      const begin = from === undefined ? 'is drained' : `will be drained from ${printTime(from)} UTC`;
      print(shell, `node ${node} ${begin}${end === null ? '' : ` until ${printTime(end)} UTC`}`);
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

import type { Command } from 'commander';
import { joinDecisionSchema } from '../model/api.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

/** `mesolite approve ID` and `mesolite deny ID` */
export function addApprove(program: Command, shell: Shell): void {
  const approve = program
    .command('approve')
    .argument('<id>', 'as `mesolite get joins` shows it, and the node in its log')
    .description('let a node in that waits')
    .action(async (id: string) => {
      await openSession(shell, approve).post(`${pathOf(id)}/approve`, {}, joinDecisionSchema);
      print(shell, `join ${id} approved: the node comes in when it asks again, within seconds`);
    });
  const deny = program
    .command('deny')
    .argument('<id>', 'as `mesolite get joins` shows it')
    .option('--reason <text>', 'what the node is told')
    .description('keep a node out that waits')
    .action(async (id: string, { reason }: { readonly reason?: string }) => {
      await openSession(shell, deny).post(`${pathOf(id)}/deny`, { ...(reason && { reason }) }, joinDecisionSchema);
      print(shell, `join ${id} denied`);
    });
}

function pathOf(id: string): string {
  return `/v1/joins/${encodeURIComponent(id)}`;
}

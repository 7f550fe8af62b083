import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { aheadSchema, printTasks } from '../model/ahead.ts';
import { nodeListSchema } from '../model/api.ts';
import { parseName } from './arguments.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

/** `mesolite takeover NODE` */
export function addTakeOver(program: Command, shell: Shell): void {
  const takeOver = program
    .command('takeover')
    .description(
      'have the master’s database hold over what a node was given by another, or before the database was restored',
    )
    .argument('<node>', 'as `mesolite get nodes` shows it', parseName)
    .option('--yes', 'do it; without this it is only told what would be done')
    .action(async (name: string, { yes }: { readonly yes?: true }) => {
      const session = openSession(shell, takeOver);
      const { nodes } = await session.get('/v1/nodes', nodeListSchema);
      const node = nodes.find(each => each.node === name);
      if (node === undefined) throw new MesoliteError('NOT_FOUND', `there is no node ${name}`);
      if (node.ahead === undefined) throw new MesoliteError('CONFLICT', `node ${name} holds what this master gave it`);
      print(shell, `tasks that are not known here, to be ended: ${printTasks(node.ahead.unknown)}`);
      print(shell, `tasks that are not there any more, to be counted as lost: ${printTasks(node.ahead.missing)}`);
      if (yes !== true) {
        remark(shell, 'nothing was changed: apply the jobs that are missing first, then --yes does it');
        return;
      }
      await session.post(`/v1/nodes/${encodeURIComponent(name)}/takeover`, {}, aheadSchema);
      print(shell, `node ${name} is taken over`);
    });
}

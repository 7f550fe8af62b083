import type { Command } from 'commander';
import { taskExplanationSchema } from '../model/api.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';
import { findTask } from './task-name.ts';

/** `mesolite explain task ID` */
export function addExplainTask(explain: Command, shell: Shell): void {
  const command = explain
    .command('task')
    .description('tell node by node why a task that waits is not there')
    .argument('<id>', 'of the task, its beginning, or its job');
  withOutput(command).action(async (name: string, { output }: OutputOptions) => {
    const session = openSession(shell, command);
    const id = await findTask(session, name);
    const found = await session.get(`/v1/tasks/${encodeURIComponent(id)}/explain`, taskExplanationSchema);
    printAs(shell, output, found, () => {
      const { task, state, node, why, nodes } = found;
      const onNode = why === null ? `${state} on ${node}` : `${state} on ${node}, ${why}`;
      print(shell, `${task}: ${node === null ? (why ?? state) : onNode}`);
      for (const each of nodes) print(shell, `${each.node}: ${each.why}`);
    });
  });
}

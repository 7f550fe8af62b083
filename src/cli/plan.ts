import type { Command } from 'commander';
import { type PlannedTask, planSchema } from '../model/api.ts';
import { collect } from './arguments.ts';
import { readDocumentFiles } from './document-files.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { printAhead } from './readable.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';
import { type Column, renderTable } from './table.ts';

interface PlanOptions extends OutputOptions {
  readonly file: readonly string[];
}

const columns: readonly Column<PlannedTask>[] = [
  { head: 'TASK', cell: ({ job, namespace, label }) => `${job}.${namespace}.${label}` },
  { head: 'NODE', cell: ({ node }) => node ?? '-' },
  {
    head: 'STARTS',
    cell: ({ startAt }, now) => (startAt === null ? '-' : startAt <= now ? 'now' : printAhead(startAt, now)),
  },
  { head: 'ENDS', cell: ({ endAt }, now) => (endAt === null ? '-' : printAhead(endAt, now)) },
  { head: 'WHY', cell: ({ why }) => why ?? '' },
];

/** `mesolite plan -f FILE` */
export function addPlan(program: Command, shell: Shell): void {
  const command = program
    .command('plan')
    .description('show where each task of these jobs would go and when it would end, if they were applied now')
    .requiredOption('-f, --file <path>', 'file, directory or - for standard input; may be repeated', collect);
  withOutput(command).action(async ({ file, output }: PlanOptions) => {
    const documents = (await readDocumentFiles(file, shell)).map(document => document.value);
    const plan = await openSession(shell, command).post('/v1/plan', { documents }, planSchema);
    printAs(shell, output, plan, () => {
      if (plan.tasks.length === 0) print(shell, 'no task would be added');
      else print(shell, renderTable(columns, plan.tasks, { wide: output === 'wide', now: plan.now }));
    });
  });
}

import { type Command, Option } from 'commander';
import { auditListSchema } from '../model/api.ts';
import { parseSince, parseWhole } from './arguments.ts';
import { auditColumns } from './columns.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { openSession } from './session.ts';
import type { Shell } from './shell.ts';

interface AuditOptions extends OutputOptions {
  readonly since?: number;
  readonly principal?: string;
  readonly verdict?: 'allow' | 'deny';
  readonly limit: number;
}

/** `mesolite audit` */
export function addAudit(program: Command, shell: Shell): void {
  const command = program
    .command('audit')
    .description('list decided requests, newest first')
    .option('--since <time>', 'only from then on: 30m, 1h, 7d ago, or a date', parseSince(shell.now))
    .option('--principal <principal>', 'only of this caller, as <trust domain>/ns/<namespace>/sa/<account>')
    .addOption(new Option('--verdict <verdict>', 'only these').choices(['allow', 'deny']))
    .option('--limit <number>', 'at most so many', parseWhole(1, 1_000), 100);
  withOutput(command, ['table', 'wide', 'json', 'yaml']).action(async (options: AuditOptions) => {
    const answer = await openSession(shell, command).get(`/v1/audit?${queryOf(options)}`, auditListSchema);
    printAs(shell, options.output, answer, () =>
      printRows(shell, options.output, auditColumns, answer.entries, 'decided requests'),
    );
  });
}

function queryOf({ since, principal, verdict, limit }: AuditOptions): URLSearchParams {
  const query = new URLSearchParams({ limit: String(limit) });
  if (since !== undefined) query.set('since', String(since));
  if (principal !== undefined) query.set('principal', principal);
  if (verdict !== undefined) query.set('verdict', verdict);
  return query;
}

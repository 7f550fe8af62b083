import { type Command, Option } from 'commander';
import { type AuditEntry, auditListSchema } from '../model/api.ts';
import { printAuditNumber } from '../model/audit-chain.ts';
import { parseName, parseSince, parseWhole } from './arguments.ts';
import { auditEntries, auditItems, printAll, queryOf } from './audit-pages.ts';
import { addAuditVerify } from './audit-verify.ts';
import { auditColumns } from './columns.ts';
import { csvLine } from './csv.ts';
import { usageError } from './exit-codes.ts';
import { type OutputFormat, printAs, printRows } from './output.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

interface Filters {
  readonly since?: number;
  readonly until?: number;
  readonly node?: string;
  readonly principal?: string;
  readonly workload?: string;
  readonly verdict?: 'allow' | 'deny';
}

interface ListOptions extends Filters {
  readonly output: OutputFormat | 'csv';
  readonly limit: number;
}

interface ExportOptions extends Filters {
  readonly output: 'jsonl' | 'csv';
}

/** `mesolite audit [list|export|verify]` */
export function addAudit(program: Command, shell: Shell): void {
  const audit = program.command('audit').description('decided requests: list them, export them, verify them');
  addList(audit, shell);
  addExport(audit, shell);
  addAuditVerify(audit, shell);
}

function addList(audit: Command, shell: Shell): void {
  const command = audit
    .command('list', { isDefault: true })
    .description('list them, newest first; so does `mesolite audit` alone');
  withFilters(command, shell)
    .option('--limit <number>', 'at most so many', parseWhole(1, 1_000), 100)
    .addOption(
      new Option('-o, --output <format>', 'how to print')
        .choices(['table', 'wide', 'json', 'yaml', 'csv'])
        .default('table'),
    )
    .action(async ({ output, ...query }: ListOptions) => {
      const path = `/v1/audit?${queryOf({ ...query })}`;
      const answer = await openSession(shell, command).get(path, auditListSchema);
      if (output === 'csv') for (const line of [csvHead, ...answer.entries.map(csvOf)]) print(shell, line);
      else
        printAs(shell, output, answer, () =>
          printRows(shell, output, auditColumns, answer.entries, 'decided requests'),
        );
    });
}

function addExport(audit: Command, shell: Shell): void {
  const command = audit
    .command('export')
    .description('print all of the audit: with what proves it (jsonl), or what is asked for as a table (csv)');
  withFilters(command, shell)
    .addOption(new Option('-o, --output <format>', 'how to print').choices(['jsonl', 'csv']).default('jsonl'))
    .action(async ({ output, ...query }: ExportOptions) => {
      const { principal, workload, verdict, ...range } = query;
      const isPart = (principal ?? workload ?? verdict) !== undefined;
      if (output === 'jsonl' && isPart) {
        throw usageError(
          'a chain cannot be proved in part: -o jsonl takes --since, --until and --node; for others -o csv',
        );
      }
      const client = openSession(shell, command);
      if (output === 'jsonl')
        await printAll(
          shell,
          mapped(auditItems(client, range), item => JSON.stringify(item)),
        );
      else {
        print(shell, csvHead);
        await printAll(shell, mapped(auditEntries(client, { ...query }), csvOf));
      }
    });
}

function withFilters(command: Command, shell: Shell): Command {
  return command
    .option('--since <time>', 'only from then on: 30m, 1h, 7d ago, or a date', parseSince(shell.now))
    .option('--until <time>', 'only before then', parseSince(shell.now))
    .option('--node <id>', 'only of this node', parseName)
    .option('--principal <principal>', 'only of this caller, as <trust domain>/ns/<namespace>/sa/<account>')
    .option(
      '--workload <job>',
      'only of this job, called or calling; <namespace>/<job> where that is not "default"',
      inNamespace,
    )
    .addOption(new Option('--verdict <verdict>', 'only these').choices(['allow', 'deny']));
}

function inNamespace(job: string): string {
  return job.includes('/') ? job : `default/${job}`;
}

async function* mapped<A, B>(all: AsyncIterable<A>, map: (each: A) => B): AsyncGenerator<B> {
  for await (const each of all) yield map(each);
}

const csvHead =
  'time,node,number,verdict,rule,status,source,source ip,destination,method,host,path,direction,task,bytes received,bytes sent,duration ms,request id,flags';

function csvOf(entry: AuditEntry): string {
  const time = (at: number) => new Date(at).toISOString();
  const number = printAuditNumber(entry.number);
  if (entry.kind === 'gap')
    return csvLine([time(entry.at), entry.node, number, 'gap', entry.reason, ...Array(14).fill('')]);
  const { record } = entry;
  const { verdict, rule, status, source, sourceIp, destination, method, host, path, direction, task } = record;
  const what = [verdict, rule, status, source, sourceIp, destination, method, host, path, direction, task];
  const { bytesReceived, bytesSent, durationMs, requestId, flags } = record;
  return csvLine([
    time(record.at),
    entry.node,
    number,
    ...what,
    bytesReceived,
    bytesSent,
    durationMs,
    requestId,
    flags,
  ]);
}

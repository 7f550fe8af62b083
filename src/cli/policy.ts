import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { type CaseResult, type CaseVerdict, runCases } from '../policy/cases.ts';
import { readCaseFile } from './case-file.ts';
import { type MeshOptions, meshOf, withMeshOptions } from './mesh-options.ts';
import { print, remark, type Shell } from './shell.ts';
import { type Column, renderTable } from './table.ts';

interface TestOptions extends MeshOptions {
  readonly json?: true;
}

/** `mesolite policy test FILE` */
export function addPolicy(program: Command, shell: Shell): void {
  const policy = program.command('policy').description('try policies out before they are applied');
  const test = policy
    .command('test')
    .description('ask policies about requests, and compare with what is expected; needs no master')
    .argument('<file>', 'YAML or JSON with `policies` and `cases`')
    .option('--json', 'one JSON object for each case, with name, expect, got and rule');
  withMeshOptions(test).action((file: string, options: TestOptions) => testPolicies(shell, file, options));
}

function testPolicies(shell: Shell, file: string, { json, ...options }: TestOptions): void {
  const mesh = meshOf(options);
  const { cases, warnings, ...documents } = readCaseFile(file, mesh.rootNamespace);
  for (const warning of warnings.slice(0, maxWarnings)) remark(shell, `warning: ${warning}`);
  if (warnings.length > maxWarnings) remark(shell, `warning: and ${warnings.length - maxWarnings} more`);
  const results = runCases({ ...mesh, ...documents }, cases);
  print(shell, json === true ? results.map(result => JSON.stringify(result)).join('\n') : render(results, shell.now()));
  const wrong = results.filter(differs).length;
  if (wrong > 0) throw new MesoliteError('CONFLICT', `${file}: ${wrong} of ${results.length} cases differ`);
  remark(shell, `${results.length} of ${results.length} cases agree`);
}

const maxWarnings = 20;
const maxRows = 200;

const columns: readonly Column<CaseResult>[] = [
  { head: 'CASE', cell: ({ name }) => name },
  { head: 'EXPECT', cell: ({ expect }) => expect },
  { head: 'GOT', cell: ({ got }) => got },
  { head: '', cell: result => (differs(result) ? 'differs' : 'ok') },
  { head: 'RULE', cell: ({ rule }) => rule },
];

const dryRunColumn: Column<CaseResult> = { head: 'IN DRY RUN', cell: ({ dryRun }) => dryRunText(dryRun) };

/** All of a short list; of a long one those that differ, which is what one looks for. */
function render(results: readonly CaseResult[], now: number): string {
  const shown = (results.length > maxRows ? results.filter(differs) : results).slice(0, maxRows);
  const hasDryRun = shown.some(({ dryRun }) => dryRun !== undefined);
  return renderTable(hasDryRun ? [...columns, dryRunColumn] : columns, shown, { wide: false, now });
}

function dryRunText(dryRun: CaseVerdict | undefined): string {
  return dryRun === undefined ? '-' : `${dryRun.got} by ${dryRun.rule}`;
}

function differs({ expect, got }: CaseResult): boolean {
  return expect !== got;
}

import type { Command } from 'commander';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { type ApplyResult, applyResultSchema } from '../model/api.ts';
import { policyKinds } from '../model/document.ts';
import type { RolloutView } from '../model/rollout.ts';
import type { YamlDocument } from '../model/yaml-text.ts';
import { checkDuration, collect } from './arguments.ts';
import { type Canary, parseCanary } from './canary.ts';
import { decodeAll } from './document-checks.ts';
import { readDocumentFiles } from './document-files.ts';
import { printRef } from './document-ref.ts';
import { usageError } from './exit-codes.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { shorten } from './readable.ts';
import { findRollout } from './rollout.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface ApplyOptions extends OutputOptions {
  readonly file: readonly string[];
  readonly canary?: Canary;
  readonly for?: string;
  readonly atOnce: boolean;
}

/** `mesolite apply -f FILE` */
export function addApply(program: Command, shell: Shell): void {
  const command = program
    .command('apply')
    .description('store jobs and policies from YAML files: all of them, or none when one is refused')
    .requiredOption('-f, --file <path>', 'file, directory or - for standard input; may be repeated', collect);
  command
    .option('--canary <nodes>', 'policies go to these first: 10%, zone=test or pi-1,pi-2; then to all', parseCanary)
    .option('--for <time>', 'how long the calls there are watched, and then everywhere (5m)', checkDuration)
    .option('--at-once', 'policies go to all nodes, whatever Rollout there is', false);
  withOutput(command).action(async (options: ApplyOptions) => {
    const { file, output } = options;
    const documents = await readDocumentFiles(file, shell);
    // nothing is sent before all is well, as far as it is seen here, so that all mistakes can be mended at once
    decodeAll(documents);
    const body = { documents: documents.map(document => document.value), ...wayOf(options) };
    const session = openSession(shell, command);
    const answer = await session.post('/v1/documents', body, applyResultSchema).catch(error => {
      throw inFiles(error, documents);
    });
    printAs(shell, output, answer, () => {
      for (const each of answer.results) print(shell, `${printRef(each)} ${begun(each, answer.rollout)}`);
    });
    if (answer.rollout !== undefined) remark(shell, firstStep(await findRollout(session, answer.rollout)));
    for (const each of answer.results) {
      for (const warning of each.warnings) remark(shell, `warning: ${printRef(each)}: ${warning}`);
    }
  });
}

/** What goes by a rollout has not been created yet, and is in force on the nodes of its first step alone. */
function begun({ kind, result }: ApplyResult['results'][number], rollout: string | undefined): string {
  return rollout !== undefined && result !== 'unchanged' && policyKinds.includes(kind)
    ? `begins by ${rollout}`
    : result;
}

function firstStep({ name, step, steps }: RolloutView): string {
  const nodes = shorten(steps[step - 1]?.nodes.join(', ') || 'no node that is there', maxNames);
  return `${name} is on its step ${step} of ${steps.length}, on ${nodes}; follow it: mesolite rollout status ${name} --watch`;
}

const maxNames = 80;

/** How policies go to the nodes, as the master is told. */
function wayOf({ canary, for: watchFor, atOnce }: ApplyOptions): object {
  if (atOnce && canary !== undefined) throw usageError('expected --canary or --at-once, not both');
  if (watchFor !== undefined && canary === undefined) throw usageError('--for goes with --canary');
  if (canary === undefined) return atOnce ? { atOnce } : {};
  return { rollout: { steps: [{ ...canary, ...(watchFor !== undefined && { for: watchFor }) }] } };
}

/** The master says `document 2` of what it refuses; who typed the command knows it by its file. */
function inFiles(error: unknown, documents: readonly YamlDocument[]): unknown {
  if (!isMesoliteError(error, 'INVALID_INPUT')) return error;
  const message = error.message.replace(/^document (\d+)(?=:)/, (said, n) => documents[Number(n) - 1]?.what ?? said);
  return new MesoliteError(error.code, message, { cause: error });
}

import type { Command } from 'commander';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { applyResultSchema } from '../model/api.ts';
import { decodeDocument } from '../model/document.ts';
import type { YamlDocument } from '../model/yaml-text.ts';
import { collect } from './arguments.ts';
import { readDocumentFiles } from './document-files.ts';
import { printRef } from './document-ref.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface ApplyOptions extends OutputOptions {
  readonly file: readonly string[];
}

/** `mesolite apply -f FILE` */
export function addApply(program: Command, shell: Shell): void {
  const command = program
    .command('apply')
    .description('store jobs and policies from YAML files: all of them, or none when one is refused')
    .requiredOption('-f, --file <path>', 'file, directory or - for standard input; may be repeated', collect);
  withOutput(command).action(async ({ file, output }: ApplyOptions) => {
    const documents = await readDocumentFiles(file, shell);
    checkAll(documents);
    const body = { documents: documents.map(document => document.value) };
    const session = openSession(shell, command);
    const answer = await session.post('/v1/documents', body, applyResultSchema).catch(error => {
      throw inFiles(error, documents);
    });
    printAs(shell, output, answer, () => {
      for (const each of answer.results) print(shell, `${printRef(each)} ${each.result}`);
    });
    for (const each of answer.results) {
      for (const warning of each.warnings) remark(shell, `warning: ${printRef(each)}: ${warning}`);
    }
  });
}

/** Nothing is sent before all is well formed; every document that is not is named, so that they can be mended at once. */
function checkAll(documents: readonly YamlDocument[]): void {
  const problems = documents.flatMap(({ value, what }) => {
    try {
      decodeDocument(value, what);
      return [];
    } catch (error) {
      if (isMesoliteError(error)) return [error.message];
      throw error;
    }
  });
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.join('\n'));
}

/** The master says `document 2` of what it refuses; who typed the command knows it by its file. */
function inFiles(error: unknown, documents: readonly YamlDocument[]): unknown {
  if (!isMesoliteError(error, 'INVALID_INPUT')) return error;
  const message = error.message.replace(/^document (\d+)(?=:)/, (said, n) => documents[Number(n) - 1]?.what ?? said);
  return new MesoliteError(error.code, message, { cause: error });
}

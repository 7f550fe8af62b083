import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { maxYamlBytes, parseYaml, type YamlDocument } from '../model/yaml-text.ts';
import { unreadable } from './file-words.ts';
import { readStdin, type Shell } from './shell.ts';

/** As many as the master takes at once. */
export const maxDocuments = 1_000;

/**
 * All documents of files, directories (their *.yaml, *.yml and *.json, by name) and `-` (standard input), in the order given.
 * Throws INVALID_INPUT or TOO_LARGE naming every file that cannot be read.
 */
export async function readDocumentFiles(paths: readonly string[], shell: Shell): Promise<YamlDocument[]> {
  const documents: YamlDocument[] = [];
  const problems: string[] = [];
  for (const path of paths) {
    try {
      if (path === '-') documents.push(...parseYaml(await readStdinText(shell, maxYamlBytes), stdinName));
      else for (const file of filesOf(path)) documents.push(...parseYaml(readFile(file, maxYamlBytes), file));
    } catch (error) {
      if (!isMesoliteError(error)) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.join('\n'));
  if (documents.length === 0) throw new MesoliteError('INVALID_INPUT', `${paths.join(', ')}: no documents in it`);
  if (documents.length > maxDocuments) {
    throw new MesoliteError('TOO_LARGE', `${documents.length} documents, at most ${maxDocuments} are taken at once`);
  }
  return documents;
}

const stdinName = 'standard input';

async function readStdinText(shell: Shell, limitBytes: number): Promise<string> {
  return decodeText(await readStdin(shell, limitBytes), stdinName);
}

function filesOf(path: string): string[] {
  if (!describe(path, () => statSync(path)).isDirectory()) return [path];
  const names = describe(path, () => readdirSync(path)).filter(name => /\.(ya?ml|json)$/.test(name));
  if (names.length === 0) throw new MesoliteError('INVALID_INPUT', `${path}: no .yaml, .yml or .json files in it`);
  return names.sort().map(name => join(path, name));
}

/** The text of a file; throws INVALID_INPUT or TOO_LARGE naming it. */
export function readFile(file: string, limitBytes: number): string {
  const { size } = describe(file, () => statSync(file));
  if (size > limitBytes) {
    throw new MesoliteError('TOO_LARGE', `${file}: ${size} bytes, at most ${limitBytes} are taken`);
  }
  return decodeText(
    describe(file, () => readFileSync(file)),
    file,
  );
}

function decodeText(bytes: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${file}: not UTF-8 text`, { cause });
  }
}

function describe<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

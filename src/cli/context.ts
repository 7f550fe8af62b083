import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { parseName } from './arguments.ts';
import { type CliConfig, checkContext, configPath, loadConfig, saveConfig } from './contexts.ts';
import { unreadable } from './file-words.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { print, type Shell } from './shell.ts';
import type { Column } from './table.ts';

interface SetOptions {
  readonly server: string;
  readonly ca: string;
  readonly tokenFile: string;
}

interface ContextRow {
  readonly name: string;
  readonly current: boolean;
  readonly server: string;
  readonly ca: string;
  readonly tokenFile: string;
}

const columns: readonly Column<ContextRow>[] = [
  { head: 'CURRENT', cell: row => (row.current ? '*' : ' ') },
  { head: 'NAME', cell: row => row.name },
  { head: 'SERVER', cell: row => row.server },
  { head: 'CA', cell: row => row.ca, wide: true },
  { head: 'TOKEN FILE', cell: row => row.tokenFile, wide: true },
];

/** `mesolite context list|use|set` */
export function addContext(program: Command, shell: Shell): void {
  const context = program.command('context').description('choose between masters');
  const list = context.command('list').description('list the known masters');
  withOutput(list, ['table', 'wide', 'json', 'yaml']).action(({ output }: OutputOptions) => {
    const rows = rowsOf(loadConfig(configPath(shell)));
    printAs(shell, output, { contexts: rows }, () => printRows(shell, output, columns, rows, 'contexts'));
  });
  context
    .command('use <name>')
    .description('make a master the current one')
    .action((name: string) => useContext(shell, name));
  context
    .command('set')
    .argument('<name>', 'how you call it', parseName)
    .description('add or change a master; the first one becomes current')
    .requiredOption('--server <url>', 'https://HOST:PORT of its API')
    .requiredOption('--ca <file>', 'PEM file of the authority that vouches for it')
    .requiredOption('--token-file <file>', 'file with an operator token')
    .action((name: string, options: SetOptions) => setContext(shell, name, options));
}

function rowsOf({ current, contexts }: CliConfig): ContextRow[] {
  return Object.entries(contexts).map(([name, context]) => ({ name, current: name === current, ...context }));
}

function useContext(shell: Shell, name: string): void {
  const path = configPath(shell);
  const config = loadConfig(path);
  if (!Object.hasOwn(config.contexts, name)) {
    const known = Object.keys(config.contexts).join(', ') || 'none';
    throw new MesoliteError('NOT_FOUND', `there is no context "${name}" in ${path}; it has ${known}`);
  }
  saveConfig(path, { ...config, current: name });
  print(shell, `the current context is ${name}`);
}

function setContext(shell: Shell, name: string, options: SetOptions): void {
  const path = configPath(shell);
  const config = loadConfig(path);
  const context = checkContext({
    server: options.server,
    ca: readableFile(options.ca),
    tokenFile: readableFile(options.tokenFile),
  });
  const contexts = { ...config.contexts, [name]: context };
  const current = config.current ?? name;
  saveConfig(path, { current, contexts });
  print(shell, `context ${name} is set in ${path}; the current one is ${current}`);
}

/** The absolute path, since the next command may start elsewhere. */
function readableFile(path: string): string {
  try {
    readFileSync(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  return resolve(path);
}

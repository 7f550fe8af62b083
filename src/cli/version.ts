import type { Command } from 'commander';
import { messageOf } from '../base/errors.ts';
import { versionSchema } from '../model/api.ts';
import { configPath, loadConfig } from './contexts.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface Versions {
  readonly mesolite: string;
  readonly master?: string;
  readonly server?: string;
}

/** `mesolite version`: of this program, and of the master where a context says which. */
export function addVersion(program: Command, shell: Shell, version: string): void {
  const command = program.command('version').description('print the versions of this program and of the master');
  withOutput(command).action(async ({ output }: OutputOptions) => {
    const versions = { mesolite: version, ...(await askMaster(shell, command)) };
    printAs(shell, output, versions, () => {
      print(shell, `mesolite ${versions.mesolite}`);
      if (versions.master !== undefined) print(shell, `master   ${versions.master} at ${versions.server}`);
    });
  });
}

/** A master that does not answer is no reason to keep the own version back. */
async function askMaster(shell: Shell, command: Command): Promise<Partial<Versions>> {
  if (Object.keys(loadConfig(configPath(shell)).contexts).length === 0) return {};
  try {
    const api = openSession(shell, command);
    const { version } = await api.get('/v1/version', versionSchema);
    return { master: version, server: api.server };
  } catch (error) {
    remark(shell, `the master’s version is not known: ${messageOf(error)}`);
    return {};
  }
}

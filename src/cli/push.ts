import { resolve } from 'node:path';
import type { Command } from 'commander';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { packTarGz } from '../device/tar-pack.ts';
import { artifactViewSchema } from '../model/artifact.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

/** `mesolite push PATH` */
export function addPush(program: Command, shell: Shell): void {
  const command = program
    .command('push')
    .description('give the master a file or a directory for tasks, and print its address for artifacts.source in a job')
    .argument('<path>', 'a file, a directory, or a tar.gz, which goes as it is');
  withOutput(command).action(async (path: string, { output }: OutputOptions) => {
    const session = openSession(shell, command);
    const bytes = await packTarGz(resolve(path)).catch(cause => {
      throw new MesoliteError('INVALID_INPUT', `${path} cannot be read: ${messageOf(cause)}`, { cause });
    });
    const artifact = await session.push('/v1/artifacts', bytes, artifactViewSchema);
    printAs(shell, output, artifact, () => print(shell, artifact.address));
  });
}

import type { Command } from 'commander';
import { createCredentialResultSchema } from '../model/api.ts';
import { collect, parseName } from './arguments.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, remark, type Shell } from './shell.ts';

interface CreateOptions extends OutputOptions {
  readonly role?: readonly string[];
}

/** `mesolite credential create` and `mesolite credential revoke` */
export function addCredential(program: Command, shell: Shell): void {
  const credential = program.command('credential').description('let frameworks of Mesos’ API in');
  const create = credential
    .command('create')
    .argument('<name>', 'the principal that it is known by', parseName)
    .description('print the secret that a framework shows with its name; it is shown once')
    .option(
      '--role <role>',
      'only for offers of this role, which its framework_info.roles has to name; may be repeated',
      collect,
    );
  withOutput(create).action(async (name: string, { role: roles, output }: CreateOptions) => {
    const request = { name, ...(roles !== undefined && { roles }) };
    const answer = await openSession(shell, create).post(
      '/v1/framework-credentials',
      request,
      createCredentialResultSchema,
    );
    printAs(shell, output, answer, () => {
      // alone on standard output, for a file
      print(shell, answer.secret);
      remark(shell, `for HTTP basic as ${name}, or as a bearer token`);
      if (roles !== undefined) remark(shell, `its framework_info.roles has to be among: ${roles.join(', ')}`);
    });
  });
  const revoke = credential
    .command('revoke')
    .argument('<name>', 'as `mesolite get credentials` shows it', parseName)
    .description('let a framework in no more; its tasks run on until it is torn down or its failover timeout ends')
    .action(async (name: string) => {
      await openSession(shell, revoke).remove(`/v1/framework-credentials/${encodeURIComponent(name)}`);
      print(shell, `credential ${name} revoked`);
    });
}

import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { certificateListSchema } from '../model/certificate.ts';
import { parseName } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import { type OutputOptions, printAs, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

interface RevokeOptions extends OutputOptions {
  readonly node?: string;
}

/** `mesolite revoke SERIAL` and `mesolite revoke --node NAME` */
export function addRevoke(program: Command, shell: Shell): void {
  const command = program
    .command('revoke [serial]')
    .description(
      'make a certificate, or all of a node, worthless: at the broker at once, in every proxy within seconds',
    )
    .option('--node <id>', 'all certificates of this node, which then has to join anew', parseName);
  withOutput(command).action(async (serial: string | undefined, { node, output }: RevokeOptions) => {
    if ((serial === undefined) === (node === undefined)) {
      throw new MesoliteError('INVALID_INPUT', 'expected a serial number (mesolite get certificates) or --node NAME');
    }
    if (serial !== undefined && !/^[0-9A-Fa-f:]{1,80}$/.test(serial)) {
      throw usageError(`expected a serial number as \`mesolite get certificates\` prints it, got ${serial}`);
    }
    const path =
      node === undefined
        ? `/v1/certificates/${(serial ?? '').replaceAll(':', '').toUpperCase()}/revoke`
        : `/v1/nodes/${encodeURIComponent(node)}/revoke`;
    const answer = await openSession(shell, command).post(path, {}, certificateListSchema);
    printAs(shell, output, answer, () => {
      for (const each of answer.certificates) print(shell, `revoked ${each.serial} of ${each.spiffeId}`);
      if (answer.certificates.length === 0) print(shell, 'nothing to do: revoked already');
    });
  });
}

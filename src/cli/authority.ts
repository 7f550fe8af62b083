import type { Command } from 'commander';
import { type AuthorityView, authorityViewSchema, type RotateRequest } from '../model/certificate.ts';
import { readRoot } from './authority-options.ts';
import { generationColumns } from './columns.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { remark, type Shell } from './shell.ts';

interface RotateOptions extends OutputOptions {
  readonly force?: true;
  readonly rootCert?: string;
  readonly rootKey?: string;
}

/** `mesolite authority show|rotate|retire` */
export function addAuthority(program: Command, shell: Shell): void {
  const authority = program
    .command('authority')
    .description('roots, issuing authorities and signers of the trust domain');
  const show = authority.command('show').description('list the generations in force, oldest first');
  withOutput(show, ['table', 'wide', 'json', 'yaml']).action(async ({ output }: OutputOptions) => {
    printAuthority(shell, output, await openSession(shell, show).get('/v1/authority', authorityViewSchema));
  });
  addRotate(authority, shell);
  const retire = authority
    .command('retire')
    .description('trust the old root no longer; refused while nodes have certificates by it')
    .option('--force', 'cut those nodes off');
  withOutput(retire).action(async ({ output, force }: RotateOptions) => {
    const body = { force: force === true };
    printAuthority(
      shell,
      output,
      await openSession(shell, retire).post('/v1/authority/retire', body, authorityViewSchema),
    );
  });
}

function addRotate(authority: Command, shell: Shell): void {
  const rotate = authority.command('rotate').description('make what comes next; what was before holds beside it');
  const issuing = rotate.command('issuing').description('a new issuing authority and signer, used an hour from now');
  const send = async (command: Command, output: OutputOptions['output'], body: RotateRequest) =>
    printAuthority(
      shell,
      output,
      await openSession(shell, command).post('/v1/authority/rotate', body, authorityViewSchema),
    );
  withOutput(issuing).action(({ output }: OutputOptions) => send(issuing, output, { what: 'issuing' }));
  const root = rotate
    .command('root')
    .description('a new root, which issues once every node that is ready trusts it')
    .option('--root-cert <file>', 'your own root, in PEM')
    .option('--root-key <file>', 'its ECDSA P-256 key, not encrypted')
    .option('--force', 'do not wait for nodes, also for a root that is announced already');
  withOutput(root).action(({ output, force, rootCert, rootKey }: RotateOptions) =>
    send(root, output, { what: 'root', force: force === true, root: readRoot(rootCert, rootKey) }),
  );
}

function printAuthority(shell: Shell, output: OutputOptions['output'], view: AuthorityView): void {
  printAs(shell, output, view, () => {
    printRows(shell, output, generationColumns, view.generations, 'generations');
    if (view.waitingFor.length > 0) remark(shell, `the new root waits for: ${view.waitingFor.join(', ')}`);
  });
}

import type { Command } from 'commander';
import { type AuthorityView, authorityViewSchema, type RotateRequest } from '../model/certificate.ts';
import type { ApiClient } from './api-client.ts';
import { readRoot } from './authority-options.ts';
import { generationColumns } from './columns.ts';
import { type OutputOptions, printAs, printRows, withOutput } from './output.ts';
import { openSession } from './session.ts';
import { remark, type Shell } from './shell.ts';

interface RotateOptions extends OutputOptions {
  readonly force?: true;
  readonly wait?: true;
  readonly rootCert?: string;
  readonly rootKey?: string;
}

const lookEveryMs = 1000;
const shownNodes = 10;
const waitOption = ['--wait', 'until every node has renewed its certificates; says how far it is'] as const;

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
  const send = async (command: Command, { output, wait }: RotateOptions, body: RotateRequest) => {
    const client = openSession(shell, command);
    const begun = await client.post('/v1/authority/rotate', body, authorityViewSchema);
    printAuthority(shell, output, wait === true ? await untilRenewed(shell, client, begun) : begun);
  };
  issuing.option(...waitOption);
  withOutput(issuing).action((options: RotateOptions) => send(issuing, options, { what: 'issuing' }));
  const root = rotate
    .command('root')
    .description('a new root, which issues once every node that is ready trusts it')
    .option('--root-cert <file>', 'your own root, in PEM')
    .option('--root-key <file>', 'its ECDSA P-256 key, not encrypted')
    .option('--force', 'do not wait for nodes, also for a root that is announced already')
    .option(...waitOption);
  withOutput(root).action(({ force, rootCert, rootKey, ...options }: RotateOptions) =>
    send(root, options, { what: 'root', force: force === true, root: readRoot(rootCert, rootKey) }),
  );
}

/** Looks again until no node waits and none is left to renew; says how far it is whenever that changes. */
async function untilRenewed(shell: Shell, client: ApiClient, begun: AuthorityView): Promise<AuthorityView> {
  let view = begun;
  let said = '';
  for (;;) {
    const progress = progressOf(view);
    if (progress !== said && progress !== '') remark(shell, progress);
    said = progress;
    if (isSettled(view) || !(await shell.sleep(lookEveryMs))) return view;
    view = await client.get('/v1/authority', authorityViewSchema);
  }
}

function isSettled({ generations, waitingFor, renewing }: AuthorityView): boolean {
  return waitingFor.length + renewing.length === 0 && generations.at(-1)?.state === 'issuing';
}

function progressOf({ generations, waitingFor, renewing }: AuthorityView): string {
  if (waitingFor.length > 0) return `the new root waits for: ${printNodes(waitingFor)}`;
  if (renewing.length > 0) return `have been asked to renew, and have not yet: ${printNodes(renewing)}`;
  const roots = new Set(generations.map(({ root }) => root.sha256));
  const isOver = roots.size > 1 && generations.at(-1)?.state === 'issuing';
  return isOver
    ? 'every node has certificates by the new root: mesolite authority retire ends the trust in the old one'
    : '';
}

function printNodes(nodes: readonly string[]): string {
  const more = nodes.length > shownNodes ? ` and ${nodes.length - shownNodes} more` : '';
  return nodes.slice(0, shownNodes).join(', ') + more;
}

function printAuthority(shell: Shell, output: OutputOptions['output'], view: AuthorityView): void {
  printAs(shell, output, view, () => {
    printRows(shell, output, generationColumns, view.generations, 'generations');
    const progress = progressOf(view);
    if (progress !== '') remark(shell, progress);
  });
}

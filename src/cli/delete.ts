import type { Command } from 'commander';
import * as v from 'valibot';
import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { addressOf, ownHashOf, sha256Schema } from '../model/artifact.ts';
import { nameSchema } from '../model/ids.ts';
import type { ApiClient } from './api-client.ts';
import { collect, parseName } from './arguments.ts';
import { readDocumentFiles } from './document-files.ts';
import { type DocumentRef, parseKind, printRef, readDocumentRef } from './document-ref.ts';
import { usageError } from './exit-codes.ts';
import { openSession } from './session.ts';
import { print, type Shell } from './shell.ts';

interface DeleteOptions {
  readonly file?: readonly string[];
  readonly namespace: string;
  readonly force?: true;
}

/** `mesolite delete KIND NAME` and `mesolite delete -f FILE` */
export function addDelete(program: Command, shell: Shell): void {
  const command = program
    .command('delete')
    .description(
      'remove a job or a policy, and what came of it; an artifact that no job names; or a node that does not come back',
    )
    .argument('[kind]', 'job, policy, artifact or node')
    .argument('[name]', 'its name; of an artifact its address')
    .option('-n, --namespace <name>', 'its namespace', parseName, 'default')
    .option('--force', 'a node that is up, too')
    .option('-f, --file <path>', 'all documents of a file, directory or -; may be repeated', collect);
  command.action(async (kind: string | undefined, name: string | undefined, options: DeleteOptions) => {
    if (options.force === true && kind !== 'node') throw usageError('--force is for a node that is up');
    if (kind === 'artifact' && options.file === undefined)
      return removeArtifact(openSession(shell, command), name, shell);
    if (kind === 'node' && options.file === undefined)
      return removeNode(openSession(shell, command), name, options, shell);
    const refs = await askedFor(kind, name, options, shell);
    await removeAll(openSession(shell, command), refs, shell);
  });
}

async function askedFor(
  kind: string | undefined,
  name: string | undefined,
  { file, namespace }: DeleteOptions,
  shell: Shell,
): Promise<DocumentRef[]> {
  if (file !== undefined) {
    if (kind !== undefined) throw usageError('expected KIND and NAME, or -f FILE, not both');
    const documents = await readDocumentFiles(file, shell);
    return documents.map(({ value, what }) => readDocumentRef(value, what));
  }
  if (kind === undefined || name === undefined) throw usageError('expected KIND and NAME, or -f FILE');
  return [{ kind: parseKind(kind), namespace, name }];
}

async function removeArtifact(api: ApiClient, name: string | undefined, shell: Shell): Promise<void> {
  const sha256 = ownHashOf(name ?? '') ?? name ?? '';
  if (!v.is(sha256Schema, sha256)) throw usageError('expected artifact mesolite:<sha256>');
  await api.remove(`/v1/artifacts/${sha256}`);
  print(shell, `artifact ${addressOf(sha256)} deleted`);
}

async function removeNode(api: ApiClient, name = '', { force }: DeleteOptions, shell: Shell): Promise<void> {
  if (!v.is(nameSchema, name)) throw usageError('expected the name of a node, as `mesolite get nodes` shows it');
  await api.remove(`/v1/nodes/${name}${force === true ? '?force=true' : ''}`);
  print(
    shell,
    `node ${name} deleted: its tasks start elsewhere, and it joins again by \`mesolite join --replace\` only`,
  );
}

/** One that is not there does not keep the others; in the end it is an error all the same. */
async function removeAll(api: ApiClient, refs: readonly DocumentRef[], shell: Shell): Promise<void> {
  const problems: string[] = [];
  for (const ref of refs) {
    const path = [ref.kind, ref.namespace, ref.name].map(encodeURIComponent).join('/');
    try {
      const { rollout } = await api.remove(`/v1/documents/${path}`);
      print(shell, `${printRef(ref)} ${rollout === undefined ? 'deleted' : `goes by rollout ${rollout}`}`);
    } catch (error) {
      if (!isMesoliteError(error, 'NOT_FOUND')) throw error;
      problems.push(error.message);
    }
  }
  if (problems.length > 0) throw new MesoliteError('NOT_FOUND', problems.join('\n'));
}

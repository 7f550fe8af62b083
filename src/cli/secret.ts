import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { putSecretResultSchema, secretBounds } from '../model/secret.ts';
import { parseName } from './arguments.ts';
import { usageError } from './exit-codes.ts';
import { openSession } from './session.ts';
import { print, readStdin, type Shell } from './shell.ts';

interface PutOptions {
  readonly fromFile?: string;
  readonly fromStdin?: true;
  readonly namespace: string;
}

/** `mesolite secret put` and `mesolite secret delete` */
export function addSecret(program: Command, shell: Shell): void {
  const secret = program.command('secret').description('hand secrets over to tasks');
  const put = secret
    .command('put')
    .argument('<name>', 'as jobs name it', parseName)
    .description('store a secret, encrypted; tasks that use it are replaced when it changes')
    .option('--from-file <path>', 'its bytes')
    .option('--from-stdin', 'its bytes from standard input, with the line feed at the end if there is one')
    .option('-n, --namespace <name>', 'of the jobs that may use it', parseName, 'default');
  put.action(async (name: string, options: PutOptions) => {
    const value = await readValue(options, shell);
    const path = pathOf(options.namespace, name);
    const answer = await openSession(shell, put).put(path, { value: value.toString('base64') }, putSecretResultSchema);
    print(shell, `secret ${options.namespace}/${name} ${answer.result} (version ${answer.version})`);
  });
  const remove = secret
    .command('delete')
    .argument('<name>', 'as `mesolite get secrets` shows it', parseName)
    .description('forget a secret that no job uses')
    .option('-n, --namespace <name>', 'its namespace', parseName, 'default');
  remove.action(async (name: string, { namespace }: { readonly namespace: string }) => {
    await openSession(shell, remove).remove(pathOf(namespace, name));
    print(shell, `secret ${namespace}/${name} deleted`);
  });
}

function pathOf(namespace: string, name: string): string {
  return `/v1/secrets/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
}

async function readValue({ fromFile, fromStdin }: PutOptions, shell: Shell): Promise<Buffer> {
  if ((fromFile === undefined) === (fromStdin === undefined)) throw usageError('expected --from-file or --from-stdin');
  if (fromFile === undefined) return readStdin(shell, secretBounds.valueBytes);
  try {
    const { size } = statSync(fromFile);
    if (size > secretBounds.valueBytes) {
      throw new MesoliteError('TOO_LARGE', `it has ${size} bytes, at most ${secretBounds.valueBytes} are taken`);
    }
    return readFileSync(fromFile);
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${fromFile} cannot be read: ${messageOf(cause)}`, { cause });
  }
}

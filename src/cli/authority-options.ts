import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { MesoliteError } from '../base/errors.ts';
import { parseDuration } from './arguments.ts';
import { unreadable } from './file-words.ts';
import type { AuthorityOptions, LifetimeOptions, MasterOptions } from './roles.ts';
import type { Shell } from './shell.ts';

/** As commander names what `addAuthorityOptions` adds. */
export interface AuthorityFlags {
  readonly authorityPassphraseFile?: string;
  readonly rootCert?: string;
  readonly rootKey?: string;
  readonly nodeLifetime?: number;
  readonly workloadLifetime?: number;
  readonly serverLifetime?: number;
  readonly issuingLifetime?: number;
  readonly signerLifetime?: number;
  readonly rootLifetime?: number;
}

const parseLifetime = (text: string): number => Math.round(parseDuration(text));
const maxFileBytes = 64 * 1024;

/** Options of `mesolite master` for keys and how long certificates live. */
export function addAuthorityOptions(command: Command): Command {
  return command
    .option('--authority-passphrase-file <file>', 'encrypts the keys; or in MESOLITE_AUTHORITY_PASSPHRASE')
    .option('--root-cert <file>', 'your own root in PEM, for the first start')
    .option('--root-key <file>', 'its ECDSA P-256 key, not encrypted')
    .option('--node-lifetime <duration>', 'of certificates of nodes (30d)', parseLifetime)
    .option('--workload-lifetime <duration>', 'of certificates of workloads (24h)', parseLifetime)
    .option('--server-lifetime <duration>', 'of the certificate of the master (90d)', parseLifetime)
    .option('--issuing-lifetime <duration>', 'of the authority that issues them (365d)', parseLifetime)
    .option('--signer-lifetime <duration>', 'of the key that signs policies (365d)', parseLifetime)
    .option('--root-lifetime <duration>', 'of the root, chosen when it is made (3650d)', parseLifetime);
}

/** `flags` with what the master takes in place of those options; reads the files that they name. Throws INVALID_INPUT. */
export function withAuthority(
  flags: AuthorityFlags & Omit<MasterOptions, 'dataDir' | keyof AuthorityOptions>,
  { env }: Shell,
): Omit<MasterOptions, 'dataDir'> {
  const { authorityPassphraseFile: file, rootCert, rootKey, ...more } = flags;
  const { nodeLifetime, workloadLifetime, serverLifetime, issuingLifetime, signerLifetime, rootLifetime, ...rest } =
    more;
  const lifetimes: LifetimeOptions = {
    ...(nodeLifetime !== undefined && { nodeMs: nodeLifetime }),
    ...(workloadLifetime !== undefined && { workloadMs: workloadLifetime }),
    ...(serverLifetime !== undefined && { serverMs: serverLifetime }),
    ...(issuingLifetime !== undefined && { issuingMs: issuingLifetime }),
    ...(signerLifetime !== undefined && { configMs: signerLifetime }),
    ...(rootLifetime !== undefined && { rootMs: rootLifetime }),
  };
  const passphrase =
    file === undefined ? env.MESOLITE_AUTHORITY_PASSPHRASE : readSmall(file, 'the passphrase').replace(/\r?\n$/, '');
  const root = readRoot(rootCert, rootKey);
  return {
    ...rest,
    ...(Object.keys(lifetimes).length > 0 && { lifetimes }),
    ...(passphrase !== undefined && { authorityPassphrase: passphrase }),
    ...(root && { root }),
  };
}

/** A root and its key from the user's files, both or neither. */
export function readRoot(
  certificate: string | undefined,
  key: string | undefined,
): { readonly rootPem: string; readonly rootKeyPem: string } | undefined {
  if (certificate === undefined && key === undefined) return undefined;
  if (certificate === undefined || key === undefined) {
    throw new MesoliteError('INVALID_INPUT', '--root-cert and --root-key: expected both or neither');
  }
  return { rootPem: readSmall(certificate, 'the root'), rootKeyPem: readSmall(key, 'the key of the root') };
}

function readSmall(path: string, what: string): string {
  try {
    const { size } = statSync(path);
    if (size > maxFileBytes) throw new Error(`${path} has ${size} bytes, at most ${maxFileBytes} are read`);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw unreadable(`${what}: ${path}`, cause);
  }
}

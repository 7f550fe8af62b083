import * as v from 'valibot';
import { MesoliteError, messageOf } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { createGeneration } from '../identity/authority-state.ts';
import { readCertificate } from '../identity/certificate.ts';
import {
  type Generation,
  type OpenGeneration,
  openGenerations,
  storedGenerationSchema,
} from '../identity/generations.ts';
import { printPrivateKey, sha256Hex } from '../identity/keys.ts';
import { type AuthoritySettings, createRoot, openRoot, type RootState } from '../identity/root.ts';
import { encodeMessage } from '../model/message.ts';
import { openDataKey } from './data-key.ts';

const stateFile = 'authority';
const rootsFile = 'authority-root';
/** As many as a manifest names. */
export const maxGenerations = 8;

const stateSchema = v.object({
  generations: v.pipe(v.array(storedGenerationSchema), v.minLength(1), v.maxLength(maxGenerations)),
});
/** Keys by the SHA-256 of their root. */
const rootsSchema = v.record(v.string(), v.string());

/** The authority on the disk, its private keys encrypted; the keys of roots are in a file of their own, which may be taken away. */
export interface AuthorityFile {
  readonly settings: AuthoritySettings;
  /** What encrypts the keys, see `openDataKey`. */
  readonly dataKey: string;
  load(): Promise<OpenGeneration[]>;
  save(generations: readonly Generation[]): Promise<OpenGeneration[]>;
  /** Undefined when the key has been taken away. */
  rootKey(rootPem: string): Promise<RootState | undefined>;
  /** Keeps the key of this root, encrypted, and of no other than `keep` besides. */
  saveRootKey(root: RootState, keep?: RootState): Promise<void>;
}

export interface AuthorityOptions extends Omit<AuthoritySettings, 'passphrase'> {
  readonly passphrase?: string;
  /** A root of the user's, its key not encrypted. */
  readonly root?: RootState;
}

/** Opens the authority of this trust domain, made at the first start; throws START_FAILED with the reason. */
export async function openAuthorityFile(files: Files, options: AuthorityOptions, now: number): Promise<AuthorityFile> {
  const { root, passphrase, ...rest } = options;
  const dataKey = await openDataKey(files, passphrase);
  const settings = { ...rest, passphrase: dataKey };
  const file = makeAuthorityFile(files, settings, dataKey);
  try {
    if (await files.read(stateFile)) checkSame(await file.load(), root);
    else await create(file, settings, root, now);
  } catch (cause) {
    throw new MesoliteError('START_FAILED', `the authority cannot be used: ${messageOf(cause)}`, { cause });
  }
  return file;
}

async function create(
  file: AuthorityFile,
  settings: AuthoritySettings,
  brought: RootState | undefined,
  now: number,
): Promise<void> {
  const root = brought ? sealRoot(brought, settings, now) : createRoot(settings, now);
  // the root's key first: a state without it could never be renewed
  await file.saveRootKey(root);
  await file.save([{ ...createGeneration(openRoot(root, settings, now), settings, now), usedFrom: now }]);
}

/** A root of the user's, checked, its key encrypted as ours are; throws INVALID_INPUT. */
export function sealRoot(root: RootState, settings: AuthoritySettings, now: number): RootState {
  const { passphrase: _, ...open } = settings;
  const { certificate, privateKey } = openRoot(root, open, now);
  return { rootPem: certificate.toString(), rootKeyPem: printPrivateKey(privateKey, settings.passphrase) };
}

function checkSame(generations: readonly OpenGeneration[], brought: RootState | undefined): void {
  if (brought === undefined) return;
  const { fingerprint256 } = readCertificate(brought.rootPem, 'root');
  if (generations.some(({ root }) => root.fingerprint256 === fingerprint256)) return;
  throw new MesoliteError(
    'CONFLICT',
    'it has another root already: `mesolite authority rotate root` takes a new one in its place',
  );
}

function makeAuthorityFile(files: Files, settings: AuthoritySettings, dataKey: string): AuthorityFile {
  async function rootKeys(): Promise<Record<string, string>> {
    const stored = await files.read(rootsFile);
    return stored ? decodeJson(rootsSchema, stored.value, rootsFile) : {};
  }
  return {
    settings,
    dataKey,
    async load() {
      const stored = await files.read(stateFile);
      if (stored === undefined) throw new MesoliteError('NOT_FOUND', `there is no file ${stateFile}`);
      return openGenerations(decodeJson(stateSchema, stored.value, stateFile).generations, settings);
    },
    async save(generations) {
      const opened = openGenerations(generations, settings);
      await files.write(stateFile, encodeMessage({ generations }));
      return opened;
    },
    async rootKey(rootPem) {
      const rootKeyPem = (await rootKeys())[rootId(rootPem)];
      return rootKeyPem === undefined ? undefined : { rootPem, rootKeyPem };
    },
    async saveRootKey(root, keep) {
      const keys = [root, ...(keep ? [keep] : [])].map(each => [rootId(each.rootPem), each.rootKeyPem]);
      await files.write(rootsFile, encodeMessage(Object.fromEntries(keys)));
    },
  };
}

function rootId(rootPem: string): string {
  return sha256Hex(readCertificate(rootPem, 'root').raw);
}

import { Buffer } from 'node:buffer';
import { randomBytes } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { type Authority, makeAuthority } from '../identity/authority.ts';
import { authorityStateSchema, createAuthority } from '../identity/authority-state.ts';
import { encodeMessage } from '../model/message.ts';

const stateFile = 'authority';
const keyFile = 'authority-key';

/**
 * The authority of this trust domain, made at the first start. Its keys are encrypted with the key in a file of its own, so that a
 * copy of one file alone is of no use. Throws CONFLICT when the trust domain was another.
 */
export async function openAuthority(files: Files, trustDomain: string, now: number): Promise<Authority> {
  const passphrase = await openPassphrase(files);
  const stored = await files.read(stateFile);
  const state = stored
    ? decodeJson(authorityStateSchema, stored.value, stateFile)
    : createAuthority({ trustDomain, passphrase }, now);
  if (!stored) await files.write(stateFile, encodeMessage(state));
  try {
    return makeAuthority(state, { trustDomain, passphrase });
  } catch (cause) {
    throw new MesoliteError('START_FAILED', `the authority in the data directory cannot be used: ${String(cause)}`, {
      cause,
    });
  }
}

async function openPassphrase(files: Files): Promise<string> {
  const stored = await files.read(keyFile);
  if (stored) return stored.value.toString();
  const made = randomBytes(32).toString('base64url');
  await files.write(keyFile, Buffer.from(made));
  return made;
}

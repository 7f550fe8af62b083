import { MesoliteError } from '../base/errors.ts';
import { hashFile } from '../device/content-store.ts';
import { readMinisignKey, whyNotSigned } from '../identity/minisign.ts';
import type { TaskArtifact } from '../model/artifact.ts';

/** Fetches an artifact and hands on where it is, if it is signed as it has to be here; throws UNTRUSTED. */
export type SignatureCheck = (artifact: TaskArtifact, fetch: () => Promise<string>) => Promise<string>;

/** `publicKeys` are those of minisign; without any, nothing has to be signed. Throws INVALID_INPUT. */
export function makeSignatureCheck(publicKeys: readonly string[]): SignatureCheck {
  const keys = publicKeys.map(readMinisignKey);
  return async ({ signature }, fetch) => {
    if (keys.length === 0) return fetch();
    if (signature === undefined) {
      const ids = keys.map(key => key.id).join(' or ');
      throw new MesoliteError(
        'UNTRUSTED',
        `its job has no signature of it, and this node takes what is signed by ${ids}`,
      );
    }
    const path = await fetch();
    const why = whyNotSigned(signature, Buffer.from(await hashFile(path, 'blake2b512'), 'hex'), keys);
    if (why !== undefined) throw new MesoliteError('UNTRUSTED', why);
    return path;
  };
}

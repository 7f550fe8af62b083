import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';

// jedisct1.github.io/minisign, "Signature format" and "Public key format"

/** A public key of minisign; its id as minisign prints it. */
export interface MinisignKey {
  readonly id: string;
  readonly key: KeyObject;
}

const idBytes = 8;
const keyBytes = 32;
const signatureBytes = 64;
const algorithmBytes = 2;

/** Reads the second line of a `minisign.pub`, as `RWQf6…`; throws INVALID_INPUT. */
export function readMinisignKey(text: string): MinisignKey {
  const bytes = Buffer.from(text, 'base64');
  const isKey =
    bytes.length === algorithmBytes + idBytes + keyBytes && bytes.toString('latin1', 0, algorithmBytes) === 'Ed';
  if (!isKey || bytes.toString('base64') !== text) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `expected a public key of minisign, as RWQf6…, got ${JSON.stringify(text)}`,
    );
  }
  const x = bytes.subarray(algorithmBytes + idBytes).toString('base64url');
  return { id: idOf(bytes), key: createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' }) };
}

/** Why the text of a `.minisig` does not say that one of `keys` has signed the file of this BLAKE2b-512; undefined when it does. */
export function whyNotSigned(signature: string, blake2b: Uint8Array, keys: readonly MinisignKey[]): string | undefined {
  const [, encoded = '', comment = '', encodedGlobal = ''] = signature.split('\n');
  const bytes = Buffer.from(encoded, 'base64');
  const algorithm = bytes.toString('latin1', 0, algorithmBytes);
  if (bytes.length !== algorithmBytes + idBytes + signatureBytes) return 'its signature is not one of minisign';
  // that one is of the file itself, which would have to be in memory
  if (algorithm === 'Ed') return 'its signature is of an old kind: sign with minisign 0.10 or later, or with -H';
  if (algorithm !== 'ED') return 'its signature is of an unknown kind';
  const id = idOf(bytes);
  const known = keys.find(key => key.id === id);
  if (known === undefined) {
    return `it is signed by the key ${id}, and this node takes what is signed by ${keys.map(key => key.id).join(' or ')}`;
  }
  const own = bytes.subarray(algorithmBytes + idBytes);
  if (!verify(null, blake2b, known.key, own)) return `its signature by the key ${id} is of another file`;
  const signed = Buffer.concat([own, Buffer.from(comment.replace(/^trusted comment: /, ''))]);
  const isWhole = verify(null, signed, known.key, Buffer.from(encodedGlobal, 'base64'));
  return isWhole ? undefined : 'the comment of its signature was changed';
}

/** Eight bytes behind the algorithm, little-endian. */
function idOf(bytes: Buffer): string {
  return bytes
    .readBigUInt64LE(algorithmBytes)
    .toString(16)
    .toUpperCase()
    .padStart(2 * idBytes, '0');
}

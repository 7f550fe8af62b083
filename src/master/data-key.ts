import { Buffer } from 'node:buffer';
import { createCipheriv, createDecipheriv, randomBytes, type ScryptOptions, scrypt } from 'node:crypto';
import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { decodeJson } from '../base/shape.ts';
import type { Files } from '../device/files.ts';
import { encodeMessage } from '../model/message.ts';

const plainFile = 'authority-key';
const wrappedFile = 'authority-key-wrapped';
/** 32 MB of memory and a tenth of a second: what a guess at the passphrase costs (OWASP's least for scrypt is N = 2^17 or this with p = 3). */
const cost = { N: 2 ** 15, r: 8, p: 3 } as const;
const minPassphrase = 12;
const maxPassphrase = 1024;

const text = v.pipe(v.string(), v.maxLength(256));
const wrappedSchema = v.object({
  kdf: v.literal('scrypt'),
  N: v.literal(cost.N),
  r: v.literal(cost.r),
  p: v.literal(cost.p),
  salt: text,
  iv: text,
  sealed: text,
  tag: text,
});

/**
 * The key that encrypts the authority's private keys: 256 random bits, in a file of their own, so that a copy of the other files is of
 * no use; with a passphrase that file is encrypted in turn (AES-256-GCM by scrypt, since the PBKDF2 of OpenSSL's PKCS #8 has 2,048 rounds
 * only). A passphrase that comes later takes the open file away. Throws START_FAILED.
 */
export async function openDataKey(files: Files, passphrase?: string): Promise<string> {
  if (passphrase !== undefined) checkPassphrase(passphrase);
  const wrapped = await files.read(wrappedFile);
  if (wrapped !== undefined) {
    if (passphrase === undefined) {
      throw new MesoliteError(
        'START_FAILED',
        'the authority is under a passphrase: give it with --authority-passphrase-file or in MESOLITE_AUTHORITY_PASSPHRASE',
      );
    }
    const key = await unwrap(wrapped.value, passphrase);
    await files.remove(plainFile);
    return key;
  }
  const stored = await files.read(plainFile);
  const key = stored?.value.toString() ?? randomBytes(32).toString('base64url');
  if (passphrase !== undefined) {
    // whole on the disk before the open one goes
    await files.write(wrappedFile, await wrap(key, passphrase));
    await files.remove(plainFile);
  } else if (stored === undefined) await files.write(plainFile, Buffer.from(key));
  return key;
}

function checkPassphrase(passphrase: string): void {
  if (passphrase.length < minPassphrase || passphrase.length > maxPassphrase) {
    throw new MesoliteError(
      'START_FAILED',
      `the passphrase of the authority: expected ${minPassphrase} to ${maxPassphrase} characters, got ${passphrase.length}`,
    );
  }
}

async function wrap(key: string, passphrase: string): Promise<Buffer> {
  const salt = randomBytes(16);
  const iv = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', await stretch(passphrase, salt), iv);
  const sealed = Buffer.concat([cipher.update(key, 'utf8'), cipher.final()]);
  const parts = { salt, iv, sealed, tag: cipher.getAuthTag() };
  const printed = Object.fromEntries(Object.entries(parts).map(([name, bytes]) => [name, bytes.toString('base64url')]));
  return encodeMessage({ kdf: 'scrypt', ...cost, ...printed });
}

async function unwrap(stored: Uint8Array, passphrase: string): Promise<string> {
  const { salt, iv, sealed, tag } = decodeJson(wrappedSchema, stored, wrappedFile);
  const bytes = (printed: string) => Buffer.from(printed, 'base64url');
  const key = await stretch(passphrase, bytes(salt));
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes(iv), { authTagLength: 16 }).setAuthTag(bytes(tag));
    return decipher.update(bytes(sealed), undefined, 'utf8') + decipher.final('utf8');
  } catch {
    // OpenSSL's error says nothing more
    throw new MesoliteError(
      'START_FAILED',
      'the passphrase does not open the authority: expected the one it was made with',
    );
  }
}

function stretch(passphrase: string, salt: Buffer): Promise<Buffer> {
  const options: ScryptOptions = { ...cost, maxmem: 64 * 1024 * 1024 };
  return new Promise((resolve, reject) => {
    scrypt(passphrase, salt, 32, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}

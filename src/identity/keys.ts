import type { Buffer } from 'node:buffer';
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';

/** An ECDSA P-256 key pair. */
export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const maxPemBytes = 8192;

export function generateKeyPair(): KeyPair {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

/** SubjectPublicKeyInfo in DER, of a public key or of the public half of a private one. */
export function spkiOf(key: KeyObject): Buffer {
  const publicKey = key.type === 'private' ? createPublicKey(key) : key;
  return publicKey.export({ type: 'spki', format: 'der' });
}

/** The name of a key everywhere: lower-case hexadecimal SHA-256 of its SPKI. */
export function keyIdOf(key: KeyObject): string {
  return sha256Hex(spkiOf(key));
}

/** Lower-case hexadecimal SHA-256 of bytes, or of the UTF-8 of a text. */
export function sha256Hex(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

/**
 * PKCS #8 in PEM; with a passphrase encrypted by AES-256. OpenSSL stretches it with 2,048 rounds of PBKDF2 only, so
 * that it should be long or random.
 */
export function printPrivateKey(key: KeyObject, passphrase?: string): string {
  if (passphrase === undefined) return key.export({ type: 'pkcs8', format: 'pem' }).toString();
  return key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase }).toString();
}

/** Reads PKCS #8 in PEM; throws INVALID_INPUT unless it is P-256 and the passphrase opens it. `what` names it in the error. */
export function readPrivateKey(pem: string, what: string, passphrase?: string): KeyPair {
  if (pem.length > maxPemBytes) throw new MesoliteError('TOO_LARGE', `${what}: more than ${maxPemBytes} bytes`);
  const isEncrypted = pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----');
  if (isEncrypted && passphrase === undefined) {
    throw new MesoliteError('INVALID_INPUT', `${what}: encrypted, and no passphrase was given`);
  }
  const privateKey = parsePrivateKey(pem, what, isEncrypted ? passphrase : undefined);
  if (!isP256(privateKey)) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `${what}: expected an ECDSA P-256 key, got ${privateKey.asymmetricKeyType}`,
    );
  }
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

function parsePrivateKey(pem: string, what: string, passphrase: string | undefined): KeyObject {
  try {
    return passphrase === undefined ? createPrivateKey(pem) : createPrivateKey({ key: pem, passphrase });
  } catch {
    // OpenSSL's error says nothing more, and a cause would carry it into logs
    const reason = passphrase === undefined ? 'not a private key in PEM (PKCS #8)' : 'the passphrase does not open it';
    throw new MesoliteError('INVALID_INPUT', `${what}: ${reason}`);
  }
}

export function isP256(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

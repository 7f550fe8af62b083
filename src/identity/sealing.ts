import { Buffer } from 'node:buffer';
import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import { readCertificates } from './certificate.ts';
import { type Moment, type TrustBundle, verifyChain } from './verify.ts';

/** An X25519 key: what is sealed to its public half, only its private half opens. */
export interface SealKey {
  readonly privateKey: KeyObject;
  /** 32 bytes in base64url. */
  readonly publicKey: string;
}

/** A node's public key with its word for it, by its certificate: a broker between cannot put another one in its place. */
export interface OfferedSealKey {
  readonly key: string;
  /** PEM, leaf first. */
  readonly chain: string;
  /** ES256 (IEEE P1363) in base64url. */
  readonly signature: string;
}

const pkcs8OfX25519 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const keyBytes = 32;
const ivBytes = 12;
const tagBytes = 16;

/** The same for the same secret, so that it needs no file of its own. */
export function deriveSealKey(secret: string): SealKey {
  const seed = Buffer.from(hkdfSync('sha256', secret, '', 'mesolite/v1/seal/key', keyBytes));
  const privateKey = createPrivateKey({ key: Buffer.concat([pkcs8OfX25519, seed]), format: 'der', type: 'pkcs8' });
  return { privateKey, publicKey: rawOf(createPublicKey(privateKey)) };
}

/**
 * Encrypts for the holder of the key alone: ephemeral X25519, HKDF-SHA256 over both public keys and `context`, AES-256-GCM, as in
 * RFC 9180's base mode. Opens only with the same `context`. Throws INVALID_INPUT for what is no key.
 */
export function seal(publicKey: string, plain: Uint8Array, context: string): string {
  const ephemeral = generateKeyPairSync('x25519');
  const sender = rawOf(ephemeral.publicKey);
  const shared = agree(ephemeral.privateKey, publicKey);
  const { key, iv } = expand(shared, sender, publicKey, context);
  const cipher = createCipheriv('aes-256-gcm', key, iv);
  const sealed = [cipher.update(plain), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat([Buffer.from(sender, 'base64url'), ...sealed]).toString('base64url');
}

/** Throws UNTRUSTED when it was sealed to another key, for something else, or was changed. */
export function unseal({ privateKey, publicKey }: SealKey, sealed: string, context: string): Buffer {
  const bytes = Buffer.from(sealed, 'base64url');
  try {
    const sender = bytes.subarray(0, keyBytes).toString('base64url');
    const { key, iv } = expand(agree(privateKey, sender), sender, publicKey, context);
    const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: tagBytes });
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    return Buffer.concat([decipher.update(bytes.subarray(keyBytes, -tagBytes)), decipher.final()]);
  } catch {
    // OpenSSL's error says nothing more
    throw new MesoliteError('UNTRUSTED', 'it was not sealed for this node: the node has joined anew since');
  }
}

export function offerSealKey(
  { publicKey: key }: SealKey,
  node: string,
  { keyPem, chainPem: chain }: { readonly keyPem: string; readonly chainPem: string },
): OfferedSealKey {
  const signature = sign('sha256', statement(node, key), { key: keyPem, dsaEncoding: 'ieee-p1363' });
  return { key, chain, signature: signature.toString('base64url') };
}

/** Is it the node's own? Undefined, or why not. */
export function whyNotSealKey(
  { key, chain, signature }: OfferedSealKey,
  node: string,
  bundle: TrustBundle,
  moment: Moment,
): string | undefined {
  try {
    const certificates = readCertificates(chain, 'chain of the key');
    const result = verifyChain(certificates, bundle, 'client', moment);
    if (!result.ok) return result.reason;
    if (result.peer.id.kind !== 'node' || result.peer.id.node !== node) return `it is of ${result.peer.uri}`;
    const signer = { key: result.leaf.publicKey, dsaEncoding: 'ieee-p1363' } as const;
    const isSigned = verify('sha256', statement(node, key), signer, Buffer.from(signature, 'base64url'));
    return isSigned ? undefined : 'its signature does not verify';
  } catch {
    return 'its certificate cannot be read';
  }
}

function statement(node: string, key: string): Buffer {
  return Buffer.from(`mesolite/v1/seal/key\n${node}\n${key}`);
}

function rawOf(publicKey: KeyObject): string {
  return publicKey.export({ format: 'jwk' }).x ?? '';
}

function agree(privateKey: KeyObject, publicKey: string): Buffer {
  try {
    const other = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x: publicKey }, format: 'jwk' });
    return diffieHellman({ privateKey, publicKey: other });
  } catch {
    throw new MesoliteError('INVALID_INPUT', 'expected a public X25519 key of 32 bytes in base64url');
  }
}

function expand(shared: Buffer, sender: string, receiver: string, context: string) {
  const info = `mesolite/v1/seal\n${sender}\n${receiver}\n${context}`;
  const bytes = Buffer.from(hkdfSync('sha256', shared, '', info, keyBytes + ivBytes));
  return { key: bytes.subarray(0, keyBytes), iv: bytes.subarray(keyBytes) };
}

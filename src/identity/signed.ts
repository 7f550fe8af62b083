import type { Buffer } from 'node:buffer';
import { type KeyObject, sign } from 'node:crypto';
import { bitString, type DerElement, type DerValue, encodeDer, oid, sequence } from './der.ts';

/** AlgorithmIdentifier ecdsa-with-SHA256 (RFC 5758 3.2: no parameters). */
export const ecdsaWithSha256: DerValue = sequence(oid('1.2.840.10045.4.3.2'));

const algorithm = encodeDer(ecdsaWithSha256);

/** The SIGNED form that requests and certificates share: body, algorithm, signature over the body's DER. */
export function encodeSigned(body: DerValue, key: KeyObject): Buffer {
  return encodeDer(sequence(body, ecdsaWithSha256, bitString(sign('sha256', encodeDer(body), key))));
}

export function isEcdsaWithSha256(element: DerElement | undefined): boolean {
  return element?.raw.equals(algorithm) === true;
}

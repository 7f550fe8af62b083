import { Buffer } from 'node:buffer';
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import { parseSpiffeId, type SpiffeId } from '../model/identity.ts';
import {
  bitStringOf,
  childrenOf,
  type DerElement,
  element,
  encodeDer,
  encoded,
  integer,
  oid,
  oidOf,
  readDer,
  sequence,
  set,
  smallIntegerOf,
  tags,
} from './der.ts';
import { encodeNames, extensionOids, readExtensions } from './extensions.ts';
import { type KeyPair, sha256Hex, spkiOf } from './keys.ts';
import { encodeSigned, isEcdsaWithSha256 } from './signed.ts';

/** A PKCS #10 request (RFC 2986) whose sender has proved that it holds the key. */
export interface CertificateSigningRequest {
  readonly id: SpiffeId;
  readonly uri: string;
  /** SubjectPublicKeyInfo in DER, as it came. */
  readonly spki: Uint8Array;
  /** Lower-case hexadecimal SHA-256 of the SPKI. */
  readonly keyId: string;
}

/** How large and deep a request may be; an honest one has about 250 bytes. */
export const requestBounds = { maxBytes: 4096, maxDepth: 12 } as const;

const extensionRequest = '1.2.840.113549.1.9.14';
const keyAlgorithm = encodeDer(sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')));
const uncompressedPointBytes = 65;
const what = 'certificate request';

/** A signed request, in DER, for the SPIFFE id `uri`; the authority decides all else. */
export function createRequest(uri: string, keys: KeyPair): Buffer {
  const names = sequence(encodeNames([{ kind: 'uri', value: uri }], true));
  const attributes = element(0xa0, [sequence(oid(extensionRequest), set(names))]);
  const info = sequence(integer(Buffer.of(0)), sequence(), encoded(spkiOf(keys.publicKey)), attributes);
  return encodeSigned(info, keys.privateKey);
}

/**
 * Reads a request and checks its signature, over the bytes as they came. Throws TOO_LARGE, UNTRUSTED when the signature does
 * not hold, and INVALID_INPUT for all that is not: P-256, ES256, exactly one SPIFFE id, and no other wish.
 */
export function readRequest(der: Uint8Array): CertificateSigningRequest {
  const [info, algorithm, signature, ...rest] = childrenOf(readDer(der, what, requestBounds), tags.sequence, what);
  const [version, , spki, attributes, ...more] = childrenOf(info, tags.sequence, what);
  const isWhole = info !== undefined && spki !== undefined && rest.length + more.length === 0;
  if (!isWhole || smallIntegerOf(version, what) !== 0) throw invalid('not a PKCS #10 request of version 1');
  if (!isEcdsaWithSha256(algorithm)) throw invalid('expected a signature by ecdsa-with-SHA256');
  const publicKey = readPublicKey(spki);
  const uri = readUri(attributes);
  const id = parseSpiffeId(uri);
  if (id === undefined) throw invalid(`${JSON.stringify(uri.slice(0, 128))} is not a SPIFFE id that is known here`);
  if (!verify('sha256', info.raw, publicKey, bitStringOf(signature, what))) {
    throw new MesoliteError('UNTRUSTED', `${what}: the signature does not verify`);
  }
  return { id, uri, spki: spki.raw, keyId: sha256Hex(spki.raw) };
}

function readPublicKey(spki: DerElement): KeyObject {
  const [algorithm, point, ...rest] = childrenOf(spki, tags.sequence, what);
  const isP256 = algorithm?.raw.equals(keyAlgorithm) === true && rest.length === 0;
  if (!isP256) throw invalid('expected an ECDSA P-256 key');
  // one key, one text: a compressed point would give the same key a second hash
  if (bitStringOf(point, what).length !== uncompressedPointBytes) throw invalid('expected an uncompressed point');
  try {
    return createPublicKey({ key: spki.raw, format: 'der', type: 'spki' });
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${what}: the key is not a point of P-256`, { cause });
  }
}

/** The one URI among the names that are asked for. */
function readUri(attributes: DerElement | undefined): string {
  const [attribute, ...others] = childrenOf(attributes, 0xa0, what);
  const [id, values] = childrenOf(attribute, tags.sequence, what);
  const [list, ...moreLists] = childrenOf(values, tags.set, what);
  if (others.length > 0 || moreLists.length > 0 || oidOf(id, what) !== extensionRequest) {
    throw invalid('expected one attribute, the extension request');
  }
  const { oids, names } = readExtensions(list, what);
  const foreign = oids.find(oid => oid !== extensionOids.subjectAltName);
  if (foreign !== undefined) throw invalid(`extension ${foreign} is not for the requester to choose`);
  const [name, ...moreNames] = names;
  if (name?.kind !== 'uri' || moreNames.length > 0) throw invalid('expected exactly one name, a SPIFFE id');
  return name.value;
}

function invalid(reason: string): MesoliteError {
  return new MesoliteError('INVALID_INPUT', `${what}: ${reason}`);
}

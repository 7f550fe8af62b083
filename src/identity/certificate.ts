import { Buffer } from 'node:buffer';
import { type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import {
  childrenOf,
  type DerElement,
  type DerValue,
  element,
  encoded,
  integer,
  oid,
  readDer,
  sequence,
  set,
  tags,
  time,
  utf8String,
} from './der.ts';
import { type Extensions, type ExtensionTemplate, encodeExtensions, readExtensions } from './extensions.ts';
import { sha256Hex, spkiOf } from './keys.ts';
import { ecdsaWithSha256, encodeSigned } from './signed.ts';

/** What an authority decides about a certificate; times in milliseconds since 1970, written in whole seconds. */
export interface CertificateTemplate extends Omit<ExtensionTemplate, 'subjectKeyId' | 'authorityKeyId'> {
  /** The subject; without one the names carry the identity alone. */
  readonly commonName?: string;
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Uint8Array;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Who signs: a certificate and its key. */
export interface Issuer {
  readonly certificate: X509Certificate;
  readonly privateKey: KeyObject;
}

/** How large a certificate may be, and how many a PEM text may hold; an honest one has about 600 bytes. */
export const certificateBounds = { maxBytes: 8192, maxDepth: 16 } as const;
export const maxCertificates = 8;

const maxPemBytes = 64 * 1024;
const lastSecond = Date.UTC(9999, 11, 31, 23, 59, 59);
const what = 'certificate';

/** Makes a certificate by `issuer`, or one that signs itself with `key`. */
export function makeCertificate(
  template: CertificateTemplate,
  signer: Issuer | { readonly key: KeyObject },
): X509Certificate {
  const { commonName, spki } = template;
  const name = sequence(...(commonName === undefined ? [] : [commonNameOf(commonName)]));
  return signBody(template, { name, hasName: commonName !== undefined, keyId: keyIdentifier(spki) }, signer);
}

/** Another certificate for an authority's name and key, by another issuer: who trusts that one finds a way to what the first has issued. */
export function certifyAgain(
  authority: X509Certificate,
  template: Omit<CertificateTemplate, 'commonName' | 'spki'>,
  issuer: Issuer,
): X509Certificate {
  const subject = { name: encoded(readBody(authority).subject.raw), hasName: true, keyId: keyIdentifierOf(authority) };
  return signBody({ ...template, spki: spkiOf(authority.publicKey) }, subject, issuer);
}

interface Subject {
  readonly name: DerValue;
  readonly hasName: boolean;
  readonly keyId: Uint8Array;
}

function signBody(
  template: CertificateTemplate,
  { name, hasName, keyId: subjectKeyId }: Subject,
  signer: Issuer | { readonly key: KeyObject },
): X509Certificate {
  const { spki, notBefore, notAfter } = template;
  if (!(notBefore < notAfter && notAfter <= lastSecond)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: cannot be valid from ${notBefore} to ${notAfter}`);
  }
  const isSelfSigned = 'key' in signer;
  const authorityKeyId = isSelfSigned ? subjectKeyId : keyIdentifierOf(signer.certificate);
  const body = sequence(
    element(0xa0, [integer(Buffer.of(2))]),
    integer(randomBytes(16)),
    ecdsaWithSha256,
    isSelfSigned ? name : encoded(readBody(signer.certificate).subject.raw),
    sequence(time(notBefore), time(notAfter)),
    name,
    encoded(spki),
    element(0xa3, [encodeExtensions({ ...template, subjectKeyId, authorityKeyId }, hasName)]),
  );
  return new X509Certificate(encodeSigned(body, isSelfSigned ? signer.key : signer.privateKey));
}

function commonNameOf(text: string) {
  return set(sequence(oid('2.5.4.3'), utf8String(text)));
}

/** RFC 7093 section 2, method 4: from the SHA-256 of the SPKI. */
function keyIdentifier(spki: Uint8Array): Buffer {
  return Buffer.from(sha256Hex(spki), 'hex').subarray(0, 20);
}

/** The identifier that an issuer gives itself: a root from elsewhere may use another method. */
function keyIdentifierOf(issuer: X509Certificate): Buffer {
  return extensionsOf(issuer).subjectKeyId ?? keyIdentifier(spkiOf(issuer.publicKey));
}

/** Reads the extensions from the certificate's DER: the printed text can be made to say anything. */
export function extensionsOf(certificate: X509Certificate): Extensions {
  const { extensions } = readBody(certificate);
  const list = extensions === undefined ? undefined : childrenOf(extensions, 0xa3, what)[0];
  return readExtensions(list, what);
}

function readBody(certificate: X509Certificate): { subject: DerElement; extensions: DerElement | undefined } {
  const [body] = childrenOf(readDer(certificate.raw, what, certificateBounds), tags.sequence, what);
  const fields = childrenOf(body, tags.sequence, what);
  // version [0], serial, algorithm, issuer, validity, subject, key, and then what is optional by its tag
  const subject = fields[5];
  if (fields[0]?.tag !== 0xa0 || subject === undefined) {
    throw new MesoliteError('INVALID_INPUT', `${what}: expected X.509 version 3`);
  }
  return { subject, extensions: fields.find(field => field.tag === 0xa3) };
}

/** Reads certificates in PEM, in their order; throws INVALID_INPUT, or TOO_LARGE for more than `maxCertificates`. */
export function readCertificates(pem: string, what: string): X509Certificate[] {
  if (pem.length > maxPemBytes) throw new MesoliteError('TOO_LARGE', `${what}: more than ${maxPemBytes} bytes`);
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) throw new MesoliteError('INVALID_INPUT', `${what}: no certificate in PEM`);
  if (pem.split('-----BEGIN').length - 1 !== blocks.length) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `${what}: a damaged certificate, or something else among the certificates`,
    );
  }
  if (blocks.length > maxCertificates) {
    throw new MesoliteError(
      'TOO_LARGE',
      `${what}: ${blocks.length} certificates, at most ${maxCertificates} are taken`,
    );
  }
  try {
    return blocks.map(block => new X509Certificate(block));
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `${what}: a certificate cannot be read`, { cause });
  }
}

/** Reads exactly one certificate in PEM; throws as `readCertificates`. */
export function readCertificate(pem: string, what: string): X509Certificate {
  const [certificate, ...more] = readCertificates(pem, what);
  if (certificate === undefined || more.length > 0) {
    throw new MesoliteError('INVALID_INPUT', `${what}: expected exactly one certificate`);
  }
  return certificate;
}

/** PEM, one after the other. */
export function printCertificates(certificates: readonly X509Certificate[]): string {
  return certificates.map(certificate => certificate.toString()).join('');
}

import type { KeyObject, X509Certificate } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import { isTrustDomain } from '../model/identity.ts';
import {
  type CertificateTemplate,
  certifyAgain,
  extensionsOf,
  type Issuer,
  makeCertificate,
  readCertificate,
} from './certificate.ts';
import { generateKeyPair, keyIdOf, printPrivateKey, readPrivateKey, spkiOf } from './keys.ts';
import { type Lifetimes, type Validity, validityOf } from './lifetimes.ts';

export interface AuthoritySettings {
  readonly trustDomain: string;
  readonly lifetimes?: Partial<Lifetimes>;
  /** Encrypts the private keys of the state. */
  readonly passphrase?: string;
}

/** A root certificate and its key in PEM, which is a secret. */
export interface RootState {
  readonly rootPem: string;
  readonly rootKeyPem: string;
}

/** Below a root: an issuing authority, and in a roll-over the root after it. */
const rootPathLength = 2;

/** A new root; throws INVALID_INPUT for a trust domain or a lifetime that cannot be. */
export function createRoot({ trustDomain, lifetimes, passphrase }: AuthoritySettings, now: number): RootState {
  if (!isTrustDomain(trustDomain)) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `${JSON.stringify(trustDomain)} is no trust domain: expected one like example.org`,
    );
  }
  const root = certifyAuthority('root', rootPathLength, trustDomain, validityOf(now, 'rootMs', lifetimes));
  return { rootPem: root.certificate.toString(), rootKeyPem: printPrivateKey(root.privateKey, passphrase) };
}

/** Opens a root of ours or of the user's; throws INVALID_INPUT with the reason why it cannot be the root of this trust domain. */
export function openRoot({ rootPem, rootKeyPem }: RootState, settings: AuthoritySettings, now: number): Issuer {
  const certificate = readCertificate(rootPem, 'root');
  const { privateKey } = readPrivateKey(rootKeyPem, 'key of the root', settings.passphrase);
  const reason = certificate.checkPrivateKey(privateKey)
    ? whyNoRoot(certificate, settings.trustDomain, now)
    : 'its key and its certificate do not belong together';
  if (reason !== undefined) throw new MesoliteError('INVALID_INPUT', `root: ${reason}`);
  return { certificate, privateKey };
}

function whyNoRoot(certificate: X509Certificate, trustDomain: string, now: number): string | undefined {
  const { validFrom, validTo, publicKey } = certificate;
  if (!certificate.verify(publicKey)) return 'it did not sign itself';
  const { isAuthority, pathLength, keyUsage, extendedKeyUsage, unknownCritical, names, subjectKeyId } =
    extensionsOf(certificate);
  if (!isAuthority) return 'it is no authority (CA:TRUE is missing)';
  if (keyUsage?.includes('keyCertSign') !== true) return 'its key usage does not allow it to sign certificates';
  if (pathLength === 0) return 'it may have no authority below it (pathlen:0), and the issuing authority is one';
  if (extendedKeyUsage !== undefined) return 'it has an extended key usage, which would bind all below it';
  if (unknownCritical.length > 0) return `it has the critical extension ${unknownCritical[0]}, unknown here`;
  if (subjectKeyId === undefined) return 'it has no subject key identifier';
  if (!certificate.checkIssued(certificate)) return 'it names another issuer than itself';
  const other = names.find(({ kind, value }) => kind === 'uri' && value !== `spiffe://${trustDomain}`);
  if (other !== undefined) return `it is for ${other.value}, not for the trust domain ${trustDomain}`;
  // written so that a date which cannot be read refuses
  if (!(now >= Date.parse(validFrom))) return `it is not valid before ${validFrom}`;
  return now < Date.parse(validTo) ? undefined : `it expired on ${validTo}`;
}

/** A new key and its certificate, by `issuer` or by itself. */
export function certifyAuthority(
  word: 'root' | 'issuing',
  pathLength: number,
  trustDomain: string,
  validity: Validity,
  issuer?: Issuer,
): Issuer {
  const { privateKey, publicKey } = generateKeyPair();
  const template: CertificateTemplate = {
    ...authorityTemplate(pathLength, trustDomain, validity),
    // two authorities must not share a name (RFC 5280 4.1.2.4), and a trust domain may be longer than a name
    commonName: `Mesolite ${word} CA ${keyIdOf(publicKey).slice(0, 8)}`,
    spki: spkiOf(publicKey),
  };
  return { certificate: makeCertificate(template, issuer ?? { key: privateKey }), privateKey };
}

/**
 * `root` as `before` certifies it, so that who knows only that one can follow a roll-over; undefined when `before` may have
 * nothing so far below it.
 */
export function bridge(
  root: X509Certificate,
  before: Issuer,
  { trustDomain, lifetimes }: AuthoritySettings,
  now: number,
): X509Certificate | undefined {
  const { pathLength = rootPathLength } = extensionsOf(before.certificate);
  if (pathLength < rootPathLength) return undefined;
  const end = Math.min(Date.parse(before.certificate.validTo), Date.parse(root.validTo));
  return certifyAgain(root, authorityTemplate(1, trustDomain, validityOf(now, 'rootMs', lifetimes, end)), before);
}

function authorityTemplate(pathLength: number, trustDomain: string, validity: Validity) {
  return {
    names: [{ kind: 'uri', value: `spiffe://${trustDomain}` }],
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
    pathLength,
    ...validity,
  } as const satisfies Omit<CertificateTemplate, 'commonName' | 'spki'>;
}

/** Do the certificate and the key belong together, and are they by `root`? Throws INVALID_INPUT. */
export function openIssued(
  certificatePem: string,
  keyPem: string,
  what: string,
  root: X509Certificate,
  passphrase: string | undefined,
): Issuer {
  const certificate = readCertificate(certificatePem, what);
  const { privateKey }: { privateKey: KeyObject } = readPrivateKey(keyPem, `key of the ${what}`, passphrase);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: its key and its certificate do not belong together`);
  }
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: its certificate was not issued by the root`);
  }
  return { certificate, privateKey };
}

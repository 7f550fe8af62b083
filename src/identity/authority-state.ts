import * as v from 'valibot';
import { dayMs, hourMs, minuteMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { isTrustDomain, printSpiffeId } from '../model/identity.ts';
import { type CertificateTemplate, type Issuer, makeCertificate } from './certificate.ts';
import { generateKeyPair, keyIdOf, printPrivateKey, spkiOf } from './keys.ts';

/** How long what the authority makes is valid, in milliseconds; `backdateMs` allows for clocks that are behind. */
export interface Lifetimes {
  readonly rootMs: number;
  readonly issuingMs: number;
  readonly configMs: number;
  readonly serverMs: number;
  readonly nodeMs: number;
  readonly workloadMs: number;
  readonly backdateMs: number;
}

export const defaultLifetimes: Lifetimes = {
  rootMs: 3650 * dayMs,
  issuingMs: 365 * dayMs,
  configMs: 365 * dayMs,
  serverMs: 365 * dayMs,
  nodeMs: 30 * dayMs,
  workloadMs: 24 * hourMs,
  backdateMs: 5 * minuteMs,
};

export interface AuthoritySettings {
  readonly trustDomain: string;
  readonly lifetimes?: Partial<Lifetimes>;
  /** Encrypts the private keys of the state. */
  readonly passphrase?: string;
}

const pem = v.pipe(v.string(), v.maxLength(8192, 'expected at most 8192 characters of PEM'));

/** All that an authority is, for its owner to keep: three keys, which are secrets, and their certificates. */
export const authorityStateSchema = v.object({
  rootKeyPem: pem,
  rootPem: pem,
  issuingKeyPem: pem,
  issuingPem: pem,
  configKeyPem: pem,
  configPem: pem,
});

export type AuthorityState = Readonly<v.InferOutput<typeof authorityStateSchema>>;

/** A new root, issuing authority and configuration key; throws INVALID_INPUT for a trust domain or a lifetime that cannot be. */
export function createAuthority(settings: AuthoritySettings, now: number): AuthorityState {
  const { trustDomain, passphrase } = settings;
  if (!isTrustDomain(trustDomain)) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `${JSON.stringify(trustDomain)} is no trust domain: expected one like example.org`,
    );
  }
  const lifetimes = checkedLifetimes(settings.lifetimes);
  const validFor = (lifetimeMs: number): Validity => ({
    notBefore: now - lifetimes.backdateMs,
    notAfter: now + Math.min(lifetimeMs, lifetimes.rootMs),
  });
  const root = certifyAuthority('root', 1, trustDomain, validFor(lifetimes.rootMs));
  const issuing = certifyAuthority('issuing', 0, trustDomain, validFor(lifetimes.issuingMs), root);
  const config = certifyConfig(trustDomain, validFor(lifetimes.configMs), root);
  return {
    rootKeyPem: printPrivateKey(root.privateKey, passphrase),
    rootPem: root.certificate.toString(),
    issuingKeyPem: printPrivateKey(issuing.privateKey, passphrase),
    issuingPem: issuing.certificate.toString(),
    configKeyPem: printPrivateKey(config.privateKey, passphrase),
    configPem: config.certificate.toString(),
  };
}

/** The defaults with `chosen` over them; throws INVALID_INPUT for one that is no whole number of seconds or more. */
export function checkedLifetimes(chosen: Partial<Lifetimes> = {}): Lifetimes {
  for (const [name, value] of Object.entries(chosen)) {
    const least = name === 'backdateMs' ? 0 : 1000;
    if (!(Number.isSafeInteger(value) && value >= least)) {
      throw new MesoliteError('INVALID_INPUT', `${name}: expected a whole number of at least ${least}, got ${value}`);
    }
  }
  return { ...defaultLifetimes, ...chosen };
}

type Validity = Pick<CertificateTemplate, 'notBefore' | 'notAfter'>;

/** A new key and its certificate, by `issuer` or by itself. */
function certifyAuthority(
  word: 'root' | 'issuing',
  pathLength: number,
  trustDomain: string,
  validity: Validity,
  issuer?: Issuer,
): Issuer {
  const { privateKey, publicKey } = generateKeyPair();
  const template: CertificateTemplate = {
    // two authorities must not share a name (RFC 5280 4.1.2.4), and a trust domain may be longer than a name
    commonName: `Mesolite ${word} CA ${keyIdOf(publicKey).slice(0, 8)}`,
    names: [{ kind: 'uri', value: `spiffe://${trustDomain}` }],
    keyUsage: ['keyCertSign', 'cRLSign'],
    extendedKeyUsage: [],
    pathLength,
    spki: spkiOf(publicKey),
    ...validity,
  };
  return { certificate: makeCertificate(template, issuer ?? { key: privateKey }), privateKey };
}

/** Issued by the root itself, so that whoever has the root can check it, and a stolen issuing key signs no policy. */
function certifyConfig(trustDomain: string, validity: Validity, root: Issuer): Issuer {
  const { privateKey, publicKey } = generateKeyPair();
  const template: CertificateTemplate = {
    commonName: 'mesolite.config',
    names: [{ kind: 'uri', value: printSpiffeId({ kind: 'config', trustDomain }) }],
    keyUsage: ['digitalSignature'],
    extendedKeyUsage: [],
    spki: spkiOf(publicKey),
    ...validity,
  };
  return { certificate: makeCertificate(template, root), privateKey };
}

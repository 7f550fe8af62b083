import * as v from 'valibot';
import { printSpiffeId } from '../model/identity.ts';
import { type CertificateTemplate, type Issuer, makeCertificate } from './certificate.ts';
import { generateKeyPair, printPrivateKey, spkiOf } from './keys.ts';
import { type Validity, validityOf } from './lifetimes.ts';
import { type AuthoritySettings, bridge, certifyAuthority, createRoot, openRoot, type RootState } from './root.ts';

const pem = v.pipe(v.string(), v.maxLength(8192, 'expected at most 8192 characters of PEM'));

/**
 * One generation of an authority, for its owner to keep: what it issues with, what it signs with, and by which root. That root's key is
 * only needed to make the next. Keys are secrets.
 */
export const generationSchema = v.object({
  rootPem: pem,
  issuingKeyPem: pem,
  issuingPem: pem,
  configKeyPem: pem,
  configPem: pem,
  /** The root as the one before it certified it: a bridge for those who know only that one. */
  bridgePem: v.optional(pem),
});

export type GenerationState = Readonly<v.InferOutput<typeof generationSchema>>;
export type AuthorityState = GenerationState & RootState;

/** A new root and the first generation under it; throws INVALID_INPUT for a trust domain or a lifetime that cannot be. */
export function createAuthority(settings: AuthoritySettings, now: number): AuthorityState {
  const root = createRoot(settings, now);
  return { ...root, ...createGeneration(openRoot(root, settings, now), settings, now) };
}

/** A new issuing authority and configuration key by `root`, and a bridge from `before`, a root that is trusted already. */
export function createGeneration(
  root: Issuer,
  settings: AuthoritySettings,
  now: number,
  before?: Issuer,
): GenerationState {
  const { trustDomain, passphrase, lifetimes } = settings;
  const end = Date.parse(root.certificate.validTo);
  const issuing = certifyAuthority('issuing', 0, trustDomain, validityOf(now, 'issuingMs', lifetimes, end), root);
  const config = certifyConfig(trustDomain, validityOf(now, 'configMs', lifetimes, end), root);
  const bridged = before && bridge(root.certificate, before, settings, now);
  return {
    rootPem: root.certificate.toString(),
    issuingKeyPem: printPrivateKey(issuing.privateKey, passphrase),
    issuingPem: issuing.certificate.toString(),
    configKeyPem: printPrivateKey(config.privateKey, passphrase),
    configPem: config.certificate.toString(),
    ...(bridged && { bridgePem: bridged.toString() }),
  };
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

import { type KeyObject, sign, verify, type X509Certificate } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import type { EnvelopeSigner, EnvelopeVerifier } from '../model/envelope.ts';
import { readCertificates } from './certificate.ts';
import { keyIdOf } from './keys.ts';
import { type Moment, type Path, type TrustBundle, verifyChain, whyNotInForce } from './verify.ts';

/** Signs envelopes with the master's configuration key (ES256, IEEE P1363). */
export function makeEnvelopeSigner(privateKey: KeyObject): EnvelopeSigner {
  return {
    keyId: keyIdOf(privateKey),
    sign: bytes => sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  };
}

/**
 * Believes the keys of `signerPems`, as long as each is certified for `spiffe://<trust domain>/config` by a root itself. `moment` is asked at
 * each envelope; that a certificate is good otherwise is found out once, since that is as much work as an envelope's own signature. Throws INVALID_INPUT.
 */
export function makeEnvelopeVerifier(
  signerPems: readonly string[],
  bundle: TrustBundle,
  moment: () => Moment,
): EnvelopeVerifier {
  const certificates = signerPems.flatMap(pem => readCertificates(pem, 'configuration signer'));
  const signers = new Map(certificates.map(certificate => [keyIdOf(certificate.publicKey), certificate]));
  const paths = new Map<string, Path>();
  const isTrusted = (keyId: string, certificate: X509Certificate): boolean => {
    const now = { ...moment(), expiredToleranceMs: 0 };
    const known = paths.get(keyId);
    if (known !== undefined) return whyNotInForce(known, now) === undefined;
    const result = verifyChain([certificate], bundle, 'signing', now);
    if (!result.ok || result.peer.id.kind !== 'config') return false;
    paths.set(keyId, result.path);
    return true;
  };
  return (keyId, bytes, signature) => {
    const certificate = signers.get(keyId);
    if (certificate === undefined || !isTrusted(keyId, certificate)) return false;
    return verify('sha256', bytes, { key: certificate.publicKey, dsaEncoding: 'ieee-p1363' }, signature);
  };
}

/** The certificate, in PEM, of the key that signs; throws INVALID_INPUT when it is not among them. */
export function certificateOf({ keyId }: EnvelopeSigner, signerPems: readonly string[]): string {
  const certificates = signerPems.flatMap(pem => readCertificates(pem, 'configuration signer'));
  const own = certificates.find(certificate => keyIdOf(certificate.publicKey) === keyId);
  if (own === undefined) throw new MesoliteError('INVALID_INPUT', `no certificate of the signing key ${keyId}`);
  return own.toString();
}

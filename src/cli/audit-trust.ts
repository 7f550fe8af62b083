import { readCertificate } from '../identity/certificate.ts';
import { readPeer } from '../identity/peer.ts';
import { makeEnvelopeVerifier } from '../identity/signer.ts';
import { readTrustBundle, verifyChain } from '../identity/verify.ts';
import type { EnvelopeVerifier } from '../model/envelope.ts';

/** Whose signatures under an audit are believed: keys that a root of the auditor's has certified for configuration, then. */
export interface AuditTrust {
  /** A certificate that came with the audit. */
  add(keyId: string, certificate: string): void;
  readonly isSigned: (keyId: string, bytes: Uint8Array, signature: Uint8Array, at: number) => boolean;
}

/** `rootsPem` are the roots that the auditor trusts; throws INVALID_INPUT. */
export function makeAuditTrust(rootsPem: string): AuditTrust {
  const signers = new Map<string, EnvelopeVerifier>();
  let moment = 0;
  return {
    add(keyId, pem) {
      const certificate = readCertificate(pem, `signer ${keyId.slice(0, 16)}`);
      const trustDomain = readPeer(certificate)?.id.trustDomain;
      if (trustDomain === undefined) return;
      const bundle = readTrustBundle(trustDomain, [rootsPem]);
      if (!verifyChain([certificate], bundle, 'signing', { now: Date.parse(certificate.validFrom) }).ok) return;
      signers.set(
        keyId,
        makeEnvelopeVerifier([pem], bundle, () => ({ now: moment })),
      );
    },
    isSigned(keyId, bytes, signature, at) {
      moment = at;
      return signers.get(keyId)?.(keyId, bytes, signature) === true;
    },
  };
}

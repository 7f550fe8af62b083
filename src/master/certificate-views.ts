import type { X509Certificate } from 'node:crypto';
import type { OpenGeneration, Roles } from '../identity/generations.ts';
import type { AuthorityView, CertificateState, CertificateView } from '../model/certificate.ts';
import type { CertificateRecord } from '../store/certificates.ts';

/** A node renews at two thirds of a certificate's life: with a quarter left it should have. */
const lastQuarter = 1 / 4;

/** What the API shows of certificates, newest first; among them is all that was issued later. */
export function viewCertificates(records: readonly CertificateRecord[], now: number): CertificateView[] {
  const successors = new Set<string>();
  return records.map(record => {
    const key = JSON.stringify([record.kind, record.spiffeId, record.node]);
    const state = stateOf(record, successors.has(key), now);
    if (state !== 'revoked') successors.add(key);
    return { ...record, state };
  });
}

function stateOf(record: CertificateRecord, isReplaced: boolean, now: number): CertificateState {
  const { notBefore, notAfter, revokedAt } = record;
  if (revokedAt !== null) return 'revoked';
  if (isReplaced) return 'replaced';
  if (notAfter <= now) return 'expired';
  return notAfter - now < (notAfter - notBefore) * lastQuarter ? 'expiring' : 'valid';
}

export function viewGeneration(each: OpenGeneration, roles: Roles): AuthorityView['generations'][number] {
  const { state, authority, root, issuing, config } = each;
  const isAnnounced = state.usedFrom === null || state.usedFrom > (roles.issuing.state.usedFrom ?? 0);
  return {
    state: each === roles.issuing ? 'issuing' : isAnnounced ? 'announced' : 'old',
    signing: each === roles.signing,
    root: { ...brief(root), sha256: authority.rootSha256 },
    issuing: brief(issuing),
    config: brief(config),
  };
}

function brief({ serialNumber, validTo }: X509Certificate) {
  return { serial: serialNumber, notAfter: Date.parse(validTo) };
}

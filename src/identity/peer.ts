import { X509Certificate } from 'node:crypto';
import { type Peer, parseSpiffeId, principalOf } from '../model/identity.ts';
import { certificateBounds, extensionsOf } from './certificate.ts';
import type { Extensions } from './extensions.ts';
import { sha256Hex } from './keys.ts';

/**
 * The identity in a certificate: undefined unless it has exactly one URI among its names and that is a SPIFFE id of ours
 * (X.509-SVID section 2). Reads only: whether to believe it is for `verify.ts`.
 */
export function readPeer(certificate: X509Certificate | Uint8Array): Peer | undefined {
  try {
    const parsed = certificate instanceof X509Certificate ? certificate : parse(certificate);
    return peerFrom(parsed, extensionsOf(parsed));
  } catch {
    return undefined;
  }
}

function parse(der: Uint8Array): X509Certificate {
  if (der.length > certificateBounds.maxBytes) throw new RangeError('too large');
  return new X509Certificate(der);
}

/** As `readPeer`, for one who has read the extensions already. */
export function peerFrom(certificate: X509Certificate, extensions: Extensions): Peer | undefined {
  const uris = extensions.names.filter(name => name.kind === 'uri');
  const uri = uris[0]?.value ?? '';
  const id = uris.length === 1 ? parseSpiffeId(uri) : undefined;
  if (id === undefined) return undefined;
  return {
    id,
    uri,
    principal: principalOf(id),
    serial: certificate.serialNumber,
    sha256: sha256Hex(certificate.raw),
    notAfter: Date.parse(certificate.validTo),
  };
}

import type { X509Certificate } from 'node:crypto';
import type { ConnectionOptions, PeerCertificate, SecureContextOptions, TLSSocket, TlsOptions } from 'node:tls';
import { maxCertificates } from './certificate.ts';
import { type Moment, type TrustBundle, type Usage, type Verification, verifyChain, verifyPinned } from './verify.ts';

/** What one side of TLS shows of itself, in PEM; the chain begins with the leaf. */
export interface TlsIdentity {
  readonly keyPem: string;
  readonly chainPem: string;
}

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

export interface ContextSettings {
  /** TLS 1.3 unless an older peer must be served. */
  readonly minVersion?: TlsVersion;
}

/** Those of TLS 1.3, and of 1.2 what is as good: a fresh key for each connection and authenticated encryption. */
export const goodCiphers =
  'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:ECDHE+AESGCM:ECDHE+CHACHA20';

/**
 * Who judges the other side's chain: `tls` is OpenSSL by the system's clock; with `caller` every handshake succeeds, for joins and for
 * clocks that are known to be wrong. In both cases the caller calls `verifySocket` before it believes or sends a byte.
 */
export type Judge = 'tls' | 'caller';

/** Key and chain alone: enough for a server that asks nobody for a certificate, as the HTTP API. */
export function secureContextOptions(identity: TlsIdentity, settings: ContextSettings = {}): SecureContextOptions {
  return {
    key: identity.keyPem,
    cert: identity.chainPem,
    minVersion: settings.minVersion ?? 'TLSv1.3',
    ...(settings.minVersion === 'TLSv1.2' && { ciphers: goodCiphers }),
    // a server that asks for certificates resumes no session without
    sessionIdContext: 'mesolite',
  };
}

/** For `tls.createServer`: asks for a certificate. With `caller` a client may come without one. */
export function serverTlsOptions(
  identity: TlsIdentity,
  bundle: TrustBundle,
  judge: Judge,
  settings: ContextSettings = {},
): TlsOptions {
  return {
    ...secureContextOptions(identity, settings),
    ca: bundle.roots.map(root => root.toString()),
    requestCert: true,
    rejectUnauthorized: judge === 'tls',
  };
}

/** For `tls.connect`: peers of the mesh are known by SPIFFE id, so no name is compared with the address. */
export function clientTlsOptions(
  identity: TlsIdentity,
  bundle: TrustBundle,
  judge: Judge,
  settings: ContextSettings = {},
): ConnectionOptions {
  return {
    ...secureContextOptions(identity, settings),
    ca: bundle.roots.map(root => root.toString()),
    rejectUnauthorized: judge === 'tls',
    checkServerIdentity: () => undefined,
  };
}

/** For `tls.connect` of one who joins and has nothing yet: call `verifyPinnedSocket` before a byte is sent. */
export function joinTlsOptions(settings: ContextSettings = {}): ConnectionOptions {
  return {
    minVersion: settings.minVersion ?? 'TLSv1.3',
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  };
}

/** Who is on the other side? For `secureConnect` and `secureConnection`; `usage` is the other side's. */
export function verifySocket(socket: TLSSocket, bundle: TrustBundle, usage: Usage, moment: Moment): Verification {
  return verifyChain(presentedChain(socket), bundle, usage, moment);
}

/** Is the other side the master whose root has that SHA-256? See `verifyPinned`. */
export function verifyPinnedSocket(socket: TLSSocket, rootSha256: string, moment: Moment): Verification {
  return verifyPinned(presentedChain(socket), rootSha256, moment);
}

/** Node takes the chain out of OpenSSL as it hands it over (seen on 20.20; nodejs/node#65579): who asks a second time gets less. */
const chains = new WeakMap<TLSSocket, readonly X509Certificate[]>();

/**
 * The certificates that the other side sent, leaf first; use this in place of `getPeerX509Certificate`. Of a resumed session OpenSSL keeps
 * the leaf alone on a server, and Node gives nothing on a client, who must remember whom the session was with.
 */
export function presentedChain(socket: TLSSocket): readonly X509Certificate[] {
  const known = chains.get(socket);
  if (known !== undefined) return known;
  const chain: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  // one more than is taken, so that too many are seen to be too many
  while (next !== undefined && chain.length <= maxCertificates) {
    chain.push(next);
    next = next.issuerCertificate;
  }
  if (chain.length > 0) chains.set(socket, chain);
  return chain;
}

/**
 * SHA-256 of the other side's own certificate; undefined when it has shown none. To know who came before, this costs half of what the
 * chain does, and leaves it to be taken out.
 */
export function presentedFingerprint(socket: TLSSocket): string | undefined {
  const certificate: Partial<PeerCertificate> | null = socket.getPeerCertificate(false);
  return certificate?.fingerprint256;
}

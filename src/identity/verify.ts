import type { X509Certificate } from 'node:crypto';
import type { Peer } from '../model/identity.ts';
import { extensionsOf, maxCertificates, readCertificates } from './certificate.ts';
import { type Extensions, extendedKeyUsages } from './extensions.ts';
import { isP256, sha256Hex } from './keys.ts';
import { peerFrom, readPeer } from './peer.ts';

/** Whom to believe about which identities: SPIFFE's trust bundle of one trust domain. */
export interface TrustBundle {
  readonly trustDomain: string;
  readonly roots: readonly X509Certificate[];
  /** Authorities below the roots that a peer may leave out: TLS 1.3 forgets all but the leaf when a session is resumed. */
  readonly intermediates: readonly X509Certificate[];
}

/** When a chain is judged. */
export interface Moment {
  /** Milliseconds since 1970. */
  readonly now: number;
  /** How much too early `now` may be: for a clock that is known to be behind. */
  readonly notYetValidToleranceMs?: number;
  /** Grace of one who is cut off from the master: so long ago may a peer's own certificate have expired; never an authority's or a signer's. */
  readonly expiredToleranceMs?: number;
  /** Serial numbers in upper-case hexadecimal; one of them anywhere in the chain refuses it. */
  readonly revoked?: ReadonlySet<string>;
}

/** What the leaf is used for: `client` and `server` of TLS, `signing` of configuration, for which a root itself must have issued it. */
export type Usage = 'client' | 'server' | 'signing';

/** From the leaf to a root. */
export type Path = readonly [X509Certificate, ...X509Certificate[]];

export type Verification =
  | { readonly ok: true; readonly leaf: X509Certificate; readonly peer: Peer; readonly path: Path }
  | { readonly ok: false; readonly reason: string };

/** Below a root: a leaf and at most two authorities, one more than is made here. */
const maxPathLength = 3;

/**
 * Reads the roots of a trust domain, one PEM text each, and the intermediates from one's own chain, for peers are mostly issued by
 * the same authority; throws INVALID_INPUT.
 */
export function readTrustBundle(trustDomain: string, rootPems: readonly string[], ownChainPem?: string): TrustBundle {
  const roots = rootPems.flatMap(pem => readCertificates(pem, 'trusted root'));
  const own = ownChainPem === undefined ? [] : readCertificates(ownChainPem, 'own chain');
  return { trustDomain, roots, intermediates: own.slice(1) };
}

/**
 * Is `chain` (leaf first, the rest in any order) good for `usage`, by a root of the bundle, now? By RFC 5280 section 6 for the
 * profile that is issued here, and the identity must be of the bundle's trust domain.
 */
export function verifyChain(
  chain: readonly X509Certificate[],
  bundle: TrustBundle,
  usage: Usage,
  moment: Moment,
): Verification {
  const [leaf, ...others] = chain;
  if (leaf === undefined) return refuse('no certificate was presented');
  if (chain.length > maxCertificates) return refuse(`a chain of ${chain.length}, at most ${maxCertificates} are taken`);
  try {
    // configuration is signed by the root's own appointee: a stolen issuing key must not be able to make another
    const between = usage === 'signing' ? [] : [...others, ...bundle.intermediates];
    return judge(leaf, between, bundle, usage, moment);
  } catch {
    // a certificate that OpenSSL reads and we do not
    return refuse('a certificate of the chain is malformed');
  }
}

function judge(
  leaf: X509Certificate,
  others: readonly X509Certificate[],
  bundle: TrustBundle,
  usage: Usage,
  moment: Moment,
): Verification {
  const extensions = extensionsOf(leaf);
  const peer = peerFrom(leaf, extensions);
  if (peer === undefined) return refuse('the certificate has no SPIFFE id that is known here');
  if (peer.id.trustDomain !== bundle.trustDomain) {
    return refuse(`${peer.uri} is not of the trust domain ${bundle.trustDomain}`);
  }
  const path = findPath([leaf], others, bundle.roots);
  if (path === undefined) return refuse(`the chain of ${peer.uri} does not end in a trusted root`);
  const [, ...issuers] = path;
  const reason =
    whyNotLeaf(extensions, usage) ??
    whyUnknown(extensions) ??
    firstOf(issuers, whyNotIssuer) ??
    whyNotInForce(path, usage === 'signing' ? { ...moment, expiredToleranceMs: 0 } : moment);
  return reason === undefined ? { ok: true, leaf, peer, path } : refuse(`${reason} (${peer.uri})`);
}

/**
 * Why does a path that `verifyChain` has found not hold at `moment`? Time and revocation are all that can change about it as long as the
 * bundle is the same.
 */
export function whyNotInForce([leaf, ...issuers]: Path, moment: Moment): string | undefined {
  return (
    whyNotValid(leaf, moment, moment.expiredToleranceMs) ?? firstOf(issuers, issuer => whyNotValid(issuer, moment))
  );
}

/**
 * For a join: the chain of the master, or of the broker between, whose root is known by the hash in the token alone and must be in the
 * chain. Call this before one byte is sent. Whose the leaf is is part of it: any node has a certificate by the same root.
 */
export function verifyPinned(chain: readonly X509Certificate[], rootSha256: string, moment: Moment): Verification {
  const root = chain.find((certificate, i) => i > 0 && rootMatches(certificate, rootSha256));
  if (root === undefined) return refuse('the server presents no chain to the root that the join string names');
  const peer = chain[0] && readPeer(chain[0]);
  if (peer?.id.kind !== 'master' && peer?.id.kind !== 'broker') {
    return refuse(`the server is ${peer?.uri ?? 'nobody known here'}, not the master`);
  }
  return verifyChain(chain, { trustDomain: peer.id.trustDomain, roots: [root], intermediates: [] }, 'server', moment);
}

/** Is this the root with that SHA-256 (lower-case hexadecimal, of the DER)? Says nothing of who presents it: see `verifyPinned`. */
export function rootMatches(certificate: X509Certificate, rootSha256: string): boolean {
  return sha256Hex(certificate.raw) === rootSha256;
}

/** The way from the last of `path` to a root, through `others`; tries all, since authorities may be cross-signed in a roll-over. */
function findPath(path: Path, others: readonly X509Certificate[], roots: readonly X509Certificate[]): Path | undefined {
  const last = path.at(-1) ?? path[0];
  const root = roots.find(candidate => isIssuedBy(last, candidate));
  if (root !== undefined) return [...path, root];
  // also the bound of the work: certificates of one key that all issue each other would multiply it
  if (path.length === maxPathLength) return undefined;
  for (const next of others) {
    if (path.includes(next) || !isIssuedBy(last, next)) continue;
    const found = findPath([...path, next], others, roots);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Authorities are P-256: a stranger's chain of large RSA keys under one name would cost a second to try. */
function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  if (!certificate.checkIssued(issuer)) return false;
  const { publicKey } = issuer;
  return isP256(publicKey) && certificate.verify(publicKey);
}

function whyNotLeaf({ isAuthority, keyUsage, extendedKeyUsage }: Extensions, usage: Usage): string | undefined {
  if (isAuthority) return 'an authority is no peer';
  if (keyUsage?.includes('digitalSignature') !== true || keyUsage.includes('keyCertSign')) {
    return 'the key usage of the certificate is not that of a peer';
  }
  if (usage === 'signing') {
    return extendedKeyUsage === undefined ? undefined : 'a certificate for TLS does not sign configuration';
  }
  const wanted = extendedKeyUsages[usage === 'client' ? 'clientAuth' : 'serverAuth'];
  return extendedKeyUsage?.includes(wanted) === true ? undefined : `the certificate is not for a TLS ${usage}`;
}

/** `authoritiesBelow` lie between this issuer and the leaf. */
function whyNotIssuer(issuer: X509Certificate, authoritiesBelow: number): string | undefined {
  const extensions = extensionsOf(issuer);
  const { isAuthority, keyUsage, pathLength } = extensions;
  if (!isAuthority || keyUsage?.includes('keyCertSign') === false) return 'the issuer is no authority';
  if (pathLength !== undefined && authoritiesBelow > pathLength) return 'an authority has more below it than it may';
  return whyUnknown(extensions);
}

function whyUnknown({ unknownCritical: [unknown] }: Extensions): string | undefined {
  return unknown === undefined ? undefined : `a certificate has the critical extension ${unknown}, unknown here`;
}

function whyNotValid(
  certificate: X509Certificate,
  { now, notYetValidToleranceMs = 0, revoked }: Moment,
  expiredToleranceMs = 0,
): string | undefined {
  const { validFrom, validTo, serialNumber } = certificate;
  if (revoked?.has(serialNumber) === true) return `the certificate ${serialNumber} is revoked`;
  // written so that a date which cannot be read refuses
  if (!(now + notYetValidToleranceMs >= Date.parse(validFrom))) return `a certificate is not valid before ${validFrom}`;
  return now - expiredToleranceMs <= Date.parse(validTo) ? undefined : `a certificate expired on ${validTo}`;
}

function firstOf<T>(items: readonly T[], test: (item: T, index: number) => string | undefined): string | undefined {
  for (const [index, item] of items.entries()) {
    const reason = test(item, index);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function refuse(reason: string): Verification {
  return { ok: false, reason };
}

import type { X509Certificate } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import type { EnvelopeSigner } from '../model/envelope.ts';
import { parseSpiffeId, printSpiffeId, type SpiffeId } from '../model/identity.ts';
import type { GenerationState } from './authority-state.ts';
import { type Issuer, makeCertificate, printCertificates, readCertificate } from './certificate.ts';
import type { AlternativeName } from './extensions.ts';
import { sha256Hex } from './keys.ts';
import { checkedLifetimes } from './lifetimes.ts';
import { readPeer } from './peer.ts';
import { type CertificateSigningRequest, readRequest } from './request.ts';
import { type AuthoritySettings, openIssued } from './root.ts';
import { serverNames } from './server-names.ts';
import { makeEnvelopeSigner } from './signer.ts';
import type { TrustBundle } from './verify.ts';

/** A certificate that was issued. */
export interface Issued {
  readonly certificate: X509Certificate;
  /** PEM, leaf first; without the root, save for a server, which must show it to those who join. */
  readonly chainPem: string;
  /** Upper-case hexadecimal. */
  readonly serial: string;
  /** Milliseconds since 1970. */
  readonly notAfter: number;
  /** Lower-case hexadecimal SHA-256 of the SPKI. */
  readonly keyId: string;
}

/**
 * Issues certificates for requests in DER. Each method throws as `readRequest` does, FORBIDDEN for a request in another's
 * name, INVALID_INPUT for a name that cannot be, and UNAVAILABLE when the authority's own time is over.
 */
export interface Authority {
  readonly trustDomain: string;
  readonly bundle: TrustBundle;
  /** What all are to trust, in PEM: several of each while a generation follows another, newest last. */
  readonly roots: readonly string[];
  readonly signers: readonly string[];
  readonly issuers: readonly string[];
  /** The root by which certificates are issued. */
  readonly rootPem: string;
  /** Lower-case hexadecimal SHA-256 of that root's DER: what a join string pins. */
  readonly rootSha256: string;
  readonly signer: EnvelopeSigner;
  /** The certificate's common name is the node id: MQTT client ids are bound to it. */
  issueNode(csr: Uint8Array, node: string, now: number): Issued;
  issueWorkload(csr: Uint8Array, spiffeId: string, now: number): Issued;
  /** For the master itself; `names` are the DNS names and IP addresses at which it is reached. */
  issueServer(csr: Uint8Array, names: readonly string[], now: number): Issued;
  /** For a broker that others run, likewise: it is no master, and whoever joins can know it by the root in its chain. */
  issueBroker(csr: Uint8Array, names: readonly string[], now: number): Issued;
}

interface Grant {
  readonly id: SpiffeId;
  readonly commonName?: string;
  readonly names?: readonly AlternativeName[];
  readonly lifetimeMs: number;
  readonly now: number;
}

/**
 * Opens one generation; the root's key stays closed, for no leaf needs it. `before` is the root that the generation's bridge leads to,
 * while it is trusted. Throws INVALID_INPUT where the state does not fit together.
 */
export function makeAuthority(
  state: GenerationState,
  settings: AuthoritySettings,
  before?: X509Certificate,
): Authority {
  const { trustDomain, passphrase } = settings;
  const lifetimes = checkedLifetimes(settings.lifetimes);
  const root = readCertificate(state.rootPem, 'root');
  const issuing = openIssued(state.issuingPem, state.issuingKeyPem, 'issuing authority', root, passphrase);
  const config = openIssued(state.configPem, state.configKeyPem, 'configuration signer', root, passphrase);
  const configUri = readPeer(config.certificate)?.uri;
  if (configUri !== printSpiffeId({ kind: 'config', trustDomain })) {
    throw new MesoliteError('INVALID_INPUT', `the authority is ${configUri}, not of the trust domain ${trustDomain}`);
  }
  const bridge = before && state.bridgePem !== undefined ? [readCertificate(state.bridgePem, 'bridge')] : [];
  const line = { issuing, root, above: [issuing.certificate, ...bridge], backdateMs: lifetimes.backdateMs };
  const issue = (csr: Uint8Array, grant: Grant) => certify(readRequest(csr), grant, line);
  const issueTo = (kind: 'master' | 'broker', csr: Uint8Array, names: readonly string[], now: number): Issued => {
    // a dot: no node can have this name
    const grant = { commonName: `mesolite.${kind}`, names: serverNames(names), lifetimeMs: lifetimes.serverMs, now };
    const issued = issue(csr, { id: { kind, trustDomain }, ...grant });
    return { ...issued, chainPem: issued.chainPem + printCertificates([root, ...(before ? [before] : [])]) };
  };
  return {
    trustDomain,
    bundle: { trustDomain, roots: [root], intermediates: [issuing.certificate] },
    roots: [root.toString()],
    signers: [config.certificate.toString()],
    issuers: [issuing.certificate.toString()],
    rootPem: root.toString(),
    rootSha256: sha256Hex(root.raw),
    signer: makeEnvelopeSigner(config.privateKey),
    issueNode: (csr, node, now) =>
      issue(csr, { id: { kind: 'node', trustDomain, node }, commonName: node, lifetimeMs: lifetimes.nodeMs, now }),
    // no common name: a service account may be called like a node, and a broker may go by the common name alone
    issueWorkload: (csr, spiffeId, now) =>
      issue(csr, { id: workloadId(spiffeId, trustDomain), lifetimeMs: lifetimes.workloadMs, now }),
    issueServer: (csr, names, now) => issueTo('master', csr, names, now),
    issueBroker: (csr, names, now) => issueTo('broker', csr, names, now),
  };
}

function workloadId(spiffeId: string, trustDomain: string): SpiffeId {
  const id = parseSpiffeId(spiffeId);
  if (id?.kind !== 'workload' || id.trustDomain !== trustDomain) {
    throw new MesoliteError('FORBIDDEN', `${JSON.stringify(spiffeId.slice(0, 128))} is no workload of ${trustDomain}`);
  }
  return id;
}

/** What a leaf is issued by; `above` is what its chain shows of it. */
interface Line {
  readonly issuing: Issuer;
  readonly root: X509Certificate;
  readonly above: readonly X509Certificate[];
  readonly backdateMs: number;
}

function certify(request: CertificateSigningRequest, grant: Grant, line: Line): Issued {
  const { issuing, root, above, backdateMs } = line;
  const { id, commonName, names = [], lifetimeMs, now } = grant;
  const uri = printSpiffeId(id);
  if (parseSpiffeId(uri) === undefined) throw new MesoliteError('INVALID_INPUT', `${uri} cannot be a SPIFFE id`);
  if (request.uri !== uri) {
    throw new MesoliteError('FORBIDDEN', `the request is for ${request.uri}, only ${uri} may be issued`);
  }
  const end = Math.min(Date.parse(issuing.certificate.validTo), Date.parse(root.validTo));
  if (now >= end) {
    throw new MesoliteError(
      'UNAVAILABLE',
      `the authority expired on ${new Date(end).toISOString()}, nothing can be issued`,
    );
  }
  const certificate = makeCertificate(
    {
      ...(commonName === undefined ? {} : { commonName }),
      spki: request.spki,
      names: [{ kind: 'uri', value: uri }, ...names],
      keyUsage: ['digitalSignature'],
      extendedKeyUsage: ['serverAuth', 'clientAuth'],
      notBefore: now - backdateMs,
      notAfter: Math.min(now + lifetimeMs, end),
    },
    issuing,
  );
  return {
    certificate,
    chainPem: printCertificates([certificate, ...above]),
    serial: certificate.serialNumber,
    notAfter: Date.parse(certificate.validTo),
    keyId: request.keyId,
  };
}

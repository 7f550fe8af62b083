import type { X509Certificate } from 'node:crypto';
import { MesoliteError } from '../base/errors.ts';
import type { EnvelopeSigner } from '../model/envelope.ts';
import { parseSpiffeId, printSpiffeId, type SpiffeId } from '../model/identity.ts';
import { type AuthoritySettings, type AuthorityState, checkedLifetimes } from './authority-state.ts';
import { type Issuer, makeCertificate, printCertificates, readCertificates } from './certificate.ts';
import type { AlternativeName } from './extensions.ts';
import { readPrivateKey, sha256Hex } from './keys.ts';
import { readPeer } from './peer.ts';
import { type CertificateSigningRequest, readRequest } from './request.ts';
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
  readonly rootPem: string;
  /** Lower-case hexadecimal SHA-256 of the root's DER: what a join string pins. */
  readonly rootSha256: string;
  /** The certificate of the configuration key, for the manifest and for those who join. */
  readonly configPem: string;
  readonly signer: EnvelopeSigner;
  /** The certificate's common name is the node id: MQTT client ids are bound to it. */
  issueNode(csr: Uint8Array, node: string, now: number): Issued;
  issueWorkload(csr: Uint8Array, spiffeId: string, now: number): Issued;
  /** For the master itself; `names` are the DNS names and IP addresses at which it is reached. */
  issueServer(csr: Uint8Array, names: readonly string[], now: number): Issued;
}

interface Grant {
  readonly id: SpiffeId;
  readonly commonName?: string;
  readonly names?: readonly AlternativeName[];
  readonly lifetimeMs: number;
  readonly now: number;
}

/** Opens a state; the root's key stays closed, for no leaf needs it. Throws INVALID_INPUT where the state does not fit together. */
export function makeAuthority(state: AuthorityState, settings: AuthoritySettings): Authority {
  const { trustDomain, passphrase } = settings;
  const lifetimes = checkedLifetimes(settings.lifetimes);
  const root = readOne(state.rootPem, 'root');
  const issuing = readIssuer(state.issuingPem, state.issuingKeyPem, 'issuing authority', root, passphrase);
  const config = readIssuer(state.configPem, state.configKeyPem, 'configuration signer', root, passphrase);
  const configUri = readPeer(config.certificate)?.uri;
  if (configUri !== printSpiffeId({ kind: 'config', trustDomain })) {
    throw new MesoliteError('INVALID_INPUT', `the authority is ${configUri}, not of the trust domain ${trustDomain}`);
  }
  const issue = (csr: Uint8Array, grant: Grant) =>
    certify(readRequest(csr), grant, issuing, root, lifetimes.backdateMs);
  return {
    trustDomain,
    bundle: { trustDomain, roots: [root], intermediates: [issuing.certificate] },
    rootPem: root.toString(),
    rootSha256: sha256Hex(root.raw),
    configPem: config.certificate.toString(),
    signer: makeEnvelopeSigner(config.privateKey),
    issueNode: (csr, node, now) =>
      issue(csr, { id: { kind: 'node', trustDomain, node }, commonName: node, lifetimeMs: lifetimes.nodeMs, now }),
    // no common name: a service account may be called like a node, and a broker may go by the common name alone
    issueWorkload: (csr, spiffeId, now) =>
      issue(csr, { id: workloadId(spiffeId, trustDomain), lifetimeMs: lifetimes.workloadMs, now }),
    issueServer: (csr, names, now) => {
      // a dot: no node can have this name
      const grant = { commonName: 'mesolite.master', names: serverNames(names), lifetimeMs: lifetimes.serverMs, now };
      const issued = issue(csr, { id: { kind: 'master', trustDomain }, ...grant });
      return { ...issued, chainPem: issued.chainPem + root.toString() };
    },
  };
}

function workloadId(spiffeId: string, trustDomain: string): SpiffeId {
  const id = parseSpiffeId(spiffeId);
  if (id?.kind !== 'workload' || id.trustDomain !== trustDomain) {
    throw new MesoliteError('FORBIDDEN', `${JSON.stringify(spiffeId.slice(0, 128))} is no workload of ${trustDomain}`);
  }
  return id;
}

function certify(
  request: CertificateSigningRequest,
  grant: Grant,
  issuing: Issuer,
  root: X509Certificate,
  backdateMs: number,
): Issued {
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
    chainPem: printCertificates([certificate, issuing.certificate]),
    serial: certificate.serialNumber,
    notAfter: Date.parse(certificate.validTo),
    keyId: request.keyId,
  };
}

function readIssuer(
  certificatePem: string,
  keyPem: string,
  what: string,
  root: X509Certificate,
  passphrase: string | undefined,
): Issuer {
  const certificate = readOne(certificatePem, what);
  const { privateKey } = readPrivateKey(keyPem, `key of the ${what}`, passphrase);
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: its key and its certificate do not belong together`);
  }
  if (!certificate.checkIssued(root) || !certificate.verify(root.publicKey)) {
    throw new MesoliteError('INVALID_INPUT', `${what}: its certificate was not issued by the root`);
  }
  return { certificate, privateKey };
}

function readOne(pem: string, what: string): X509Certificate {
  const [certificate, ...more] = readCertificates(pem, what);
  if (certificate === undefined || more.length > 0) {
    throw new MesoliteError('INVALID_INPUT', `${what}: expected exactly one certificate`);
  }
  return certificate;
}

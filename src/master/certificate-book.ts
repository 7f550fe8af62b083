import type { X509Certificate } from 'node:crypto';
import { type Clock, dayMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import { readCertificates } from '../identity/certificate.ts';
import { readPeer } from '../identity/peer.ts';
import type { CertificateKind, CertificateView } from '../model/certificate.ts';
import { maxOfflineGraceMs, parseSpiffeId } from '../model/identity.ts';
import type { CertificateRecord, Certificates } from '../store/certificates.ts';
import { viewCertificates } from './certificate-views.ts';
import type { Events } from './events.ts';
import type { RunsWorkload } from './workload-rights.ts';

export const bookBounds = {
  /** Serial numbers in the manifest: they leave half of it to the services. */
  revoked: 50_000,
  /** Rows of one list. */
  listed: 10_000,
  /** What has expired is known for so long: as long as a node that is cut off may be lenient at most. */
  keepExpiredMs: maxOfflineGraceMs,
  /** Workloads have many, and by default nobody is lenient for longer. */
  keepWorkloadsMs: 7 * dayMs,
} as const;

/** Every certificate that was issued, and which of them hold no more. */
export interface CertificateBook {
  /** Serial numbers for the manifest and for whoever verifies. */
  readonly revoked: ReadonlySet<string>;
  /** Enters the first certificate of a chain in PEM: before it is handed out. */
  record(chainPem: string, node: string | null): Promise<void>;
  /** As `record`, of what a node asks for that was let in before; throws FORBIDDEN when it is cut off. */
  recordFor(node: string, chainPem: string): Promise<void>;
  /** Was the first certificate of a chain entered? One that has expired may have been forgotten since. */
  knows(chainPem: string): Promise<boolean>;
  /** Every certificate of the node's own is revoked: nothing that it says counts until it has joined anew. */
  isCutOff(node: string): boolean;
  /** Throws NOT_FOUND, CONFLICT for what is needed now, TOO_LARGE when too many are revoked. Returns when it is in force here and told to all. */
  revoke(which: { readonly serial: string } | { readonly node: string }): Promise<CertificateView[]>;
  /** Newest first; without `all` only what holds or should have been renewed, and nothing that was replaced. */
  list(filter: { readonly node?: string | undefined; readonly all: boolean }): Promise<CertificateView[]>;
  /** Nodes with a certificate by these issuing authorities that they use: their own, or that of a workload which they run. */
  holders(issuers: ReadonlySet<string>): Promise<string[]>;
  /** When the first certificate of a kind ends of those that hold and have not been replaced; undefined when there is none. */
  soonestEnd(kind: CertificateKind): Promise<number | undefined>;
  /** Warns of what should have been renewed and forgets what has long expired. */
  tend(): Promise<void>;
}

export async function openCertificateBook(parts: {
  readonly certificates: Certificates;
  readonly clock: Clock;
  readonly events: Pick<Events, 'record'>;
  /** Serial numbers of authorities and signers that act now. */
  readonly inUse: () => ReadonlySet<string>;
  readonly runs: RunsWorkload;
  /** Cuts off and tells. */
  readonly onRevoked: (records: readonly CertificateRecord[]) => Promise<void>;
}): Promise<CertificateBook> {
  const { certificates, clock, events, inUse, runs, onRevoked } = parts;
  const revoked = new Set(await certificates.revoked());
  let outcasts: ReadonlySet<string> = new Set(await certificates.outcasts());
  /** What is entered and what is revoked must not cross: a certificate would slip by its node's revocation. */
  const gate = new Gate();

  async function enter(chainPem: string, node: string | null): Promise<void> {
    const [leaf, issuer] = readCertificates(chainPem, 'issued certificate');
    if (leaf === undefined) return;
    await certificates.add(recordOf(leaf, issuer, node, clock.now()));
    if (node !== null && outcasts.has(node)) outcasts = new Set(await certificates.outcasts());
  }

  async function markRevoked(which: { readonly serial: string } | { readonly node: string }) {
    const records = await certificates.revoke(which, clock.now());
    for (const { serial } of records) revoked.add(serial);
    outcasts = new Set(await certificates.outcasts());
    return records;
  }

  async function choose(which: { readonly serial: string } | { readonly node: string }): Promise<number> {
    if ('node' in which) return (await certificates.list({ node: which.node, limit: bookBounds.listed })).length;
    const known = await certificates.get(which.serial);
    if (known?.kind === 'root') {
      throw new MesoliteError(
        'CONFLICT',
        'a root is not revoked but retired: mesolite authority rotate root, then retire',
      );
    }
    if (known !== undefined && inUse().has(known.serial)) {
      throw new MesoliteError(
        'CONFLICT',
        'it is in use: mesolite authority rotate issuing, and revoke it when the next has taken over',
      );
    }
    return known === undefined ? 0 : 1;
  }

  /** What holds of a kind and has not been replaced, newest first. */
  async function holding(kind: CertificateKind): Promise<CertificateView[]> {
    const now = clock.now();
    const records = await certificates.list({ kind, endAfter: now, limit: bookBounds.listed });
    return viewCertificates(records, now).filter(({ state }) => state === 'valid' || state === 'expiring');
  }

  return {
    revoked,
    record: (chainPem, node) => gate.run(() => enter(chainPem, node)),
    recordFor: (node, chainPem) =>
      gate.run(async () => {
        if (outcasts.has(node)) throw new MesoliteError('FORBIDDEN', `node ${node} is revoked: it must join anew`);
        await enter(chainPem, node);
      }),
    async knows(chainPem) {
      const [leaf] = readCertificates(chainPem, 'issued certificate');
      if (leaf === undefined || Date.parse(leaf.validTo) <= clock.now()) return true;
      return (await certificates.get(leaf.serialNumber)) !== undefined;
    },
    isCutOff: node => outcasts.has(node),
    async revoke(which) {
      const count = await choose(which);
      if (count === 0) throw new MesoliteError('NOT_FOUND', `no such certificate: ${Object.values(which).join('')}`);
      if (revoked.size + count > bookBounds.revoked) {
        throw new MesoliteError(
          'TOO_LARGE',
          `${revoked.size} certificates are revoked, at most ${bookBounds.revoked} may be`,
        );
      }
      const records = await gate.run(() => markRevoked(which));
      await onRevoked(records);
      for (const { serial, spiffeId, node } of records) {
        const message = `the certificate ${serial} of ${spiffeId} is revoked`;
        events.record('certificate-revoked', { message, ...(node !== null && { node }) });
      }
      return viewCertificates(records, clock.now());
    },
    async list({ node, all }) {
      const now = clock.now();
      const views = viewCertificates(await certificates.list({ node, limit: bookBounds.listed }), now);
      return all ? views : views.filter(isOfInterest);
    },
    async holders(issuers) {
      const nodes = new Set<string>();
      for (const { node, spiffeId } of await certificates.holdings([...issuers], clock.now())) {
        const id = parseSpiffeId(spiffeId);
        if (nodes.has(node) || (id?.kind === 'workload' && !(await runs(node, id)))) continue;
        nodes.add(node);
      }
      return [...nodes];
    },
    async soonestEnd(kind) {
      const [first, ...more] = (await holding(kind)).map(({ notAfter }) => notAfter);
      return first === undefined ? undefined : Math.min(first, ...more);
    },
    async tend() {
      const now = clock.now();
      for (const { node, state, notAfter } of await holding('node')) {
        if (state !== 'expiring' || node === null) continue;
        const message = `the node has not renewed its certificate, which expires on ${new Date(notAfter).toISOString()}`;
        events.record('certificate-expiring', { node, message });
      }
      for (const { state, notAfter } of await holding('broker')) {
        if (state !== 'expiring') continue;
        const message = `the certificate of the broker expires on ${new Date(notAfter).toISOString()}: make another with mesolite broker config`;
        events.record('certificate-expiring', { message });
      }
      await certificates.trim({ ended: now - bookBounds.keepExpiredMs, workloads: now - bookBounds.keepWorkloadsMs });
      const known = new Set(await certificates.revoked());
      for (const serial of revoked) if (!known.has(serial)) revoked.delete(serial);
    },
  };
}

/** A workload's certificate ends with its task, a node's should not. */
function isOfInterest({ state, kind }: CertificateView): boolean {
  return state === 'valid' || state === 'expiring' || (state === 'expired' && kind === 'node');
}

function recordOf(
  leaf: X509Certificate,
  issuer: X509Certificate | undefined,
  node: string | null,
  issuedAt: number,
): Omit<CertificateRecord, 'revokedAt'> {
  return {
    serial: leaf.serialNumber,
    kind: kindOf(leaf),
    spiffeId: readPeer(leaf)?.uri ?? leaf.subject.replaceAll('\n', ', '),
    node,
    issuer: (issuer ?? leaf).serialNumber,
    notBefore: Date.parse(leaf.validFrom),
    notAfter: Date.parse(leaf.validTo),
    issuedAt,
  };
}

function kindOf(leaf: X509Certificate): CertificateKind {
  const kind = readPeer(leaf)?.id.kind;
  return kind ?? (leaf.checkIssued(leaf) ? 'root' : 'issuing');
}

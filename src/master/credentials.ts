import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { systemRandom } from '../device/dice.ts';
import type { Authority } from '../identity/authority.ts';
import type { Store } from '../store/store.ts';
import type { AuthorityFile } from './authority-file.ts';
import { type CertificateBook, openCertificateBook } from './certificate-book.ts';
import type { MasterConfig } from './config.ts';
import type { Events } from './events.ts';
import { makeServerIdentity, type ServerIdentity, writeAuthorityFile } from './server-identity.ts';
import { openTrust, type Trust } from './trust.ts';
import { makeRunsWorkload, type RunsWorkload } from './workload-rights.ts';

/** Whom this master and its fleet believe: the authority, the certificates that it gave, and the master's own. */
export interface Credentials {
  readonly authority: Authority;
  readonly trust: Trust;
  readonly book: CertificateBook;
  readonly server: ServerIdentity;
  /** May a node have the certificate of a workload? */
  readonly runs: RunsWorkload;
}

export async function openCredentials(
  parts: {
    readonly store: Store;
    readonly authorityFile: AuthorityFile;
    readonly clock: Clock;
    readonly log: Log;
    readonly events: Events;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
    /** Nodes can be told something. */
    readonly isUp: () => boolean;
    readonly readyNodes: () => readonly string[];
    readonly askToRenew: (node: string, withinMs: number) => Promise<void>;
    /** Ends the sessions of a node whose certificate was revoked. */
    readonly disconnect: (node: string) => void;
    /** Tells nodes what is revoked. */
    readonly publishRevoked: () => Promise<void>;
    /** Says everything again: signer or roots are others. */
    readonly publishAll: () => Promise<void>;
  },
  { dataDir, advertise }: Pick<MasterConfig, 'dataDir' | 'advertise'>,
): Promise<Credentials> {
  const { store, authorityFile, clock, log, events, inBackground, isUp } = parts;
  const runs = makeRunsWorkload({ assignments: store.assignments });
  const book = await openCertificateBook({
    certificates: store.certificates,
    clock,
    events,
    inUse: () => trust.inUse(),
    runs,
    onRevoked: async records => {
      for (const { kind, node } of records) if (kind === 'node' && node !== null) parts.disconnect(node);
      if (records.some(({ kind }) => kind === 'master')) server.renew({ now: true });
      await trust.tend();
      await parts.publishRevoked();
    },
  });
  const trust = await openTrust({
    file: authorityFile,
    clock,
    random: systemRandom,
    log,
    revoked: () => book.revoked,
    nodes: () => (isUp() ? parts.readyNodes() : []),
    holders: book.holders,
    askToRenew: parts.askToRenew,
    record: chainPem => book.record(chainPem, null),
    events,
    onChanged: async () => {
      await writeAuthorityFile(dataDir, authority);
      if (!isUp()) return;
      server.renew({ now: true });
      await parts.publishAll();
    },
  });
  const { authority } = trust;
  await trust.tend();
  await writeAuthorityFile(dataDir, authority);
  const onIssued = (chainPem: string) => inBackground('recording a certificate', book.record(chainPem, null));
  const names = [...new Set([...advertise, 'localhost', '127.0.0.1', '::1'])];
  const server = makeServerIdentity({ authority, clock, random: systemRandom, onIssued }, { names });
  return { authority, trust, book, server, runs };
}

import type { Clock } from '../base/clock.ts';
import type { Store } from '../store/store.ts';
import type { AuditIntake } from './audit-intake.ts';
import type { CertificateBook } from './certificate-book.ts';
import { masterTimes } from './config.ts';
import type { ServerIdentity } from './server-identity.ts';
import type { Trust } from './trust.ts';
import type { Wire } from './wire.ts';

/** Ended tasks of services beyond so many are forgotten. */
const keepEndedTasks = 10_000;

/** What is due now and then, until `signal` aborts: each loop to be awaited. */
export function keepHouse(
  parts: {
    readonly store: Store;
    readonly book: CertificateBook;
    readonly auditIntake: AuditIntake;
    readonly trust: Trust;
    readonly server: ServerIdentity;
    readonly wire: Wire;
    readonly clock: Clock;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
    readonly publishAll: () => Promise<void>;
  },
  signal: AbortSignal,
): Promise<void>[] {
  const { store, book, auditIntake, trust, server, wire, clock, inBackground, publishAll } = parts;
  const tidy = async (): Promise<void> => {
    while (await clock.sleep(masterTimes.housekeepingEveryMs, signal, 'loop')) {
      inBackground('tending the book of certificates', book.tend());
      inBackground('pruning the audit', auditIntake.prune(signal));
      inBackground('trimming ended tasks', store.tasks.trimEnded(keepEndedTasks));
      inBackground('trimming join tokens', store.joinTokens.trim(clock.now() - masterTimes.keepExpiredTokensMs));
    }
  };
  const keepTrust = async (): Promise<void> => {
    while (await clock.sleep(masterTimes.trustEveryMs, signal, 'loop')) {
      inBackground(
        'renewing certificates of the master',
        trust.tend().then(() => server.renew()),
      );
      wire.endExpired();
    }
  };
  const renewDocuments = async (): Promise<void> => {
    while (await clock.sleep(masterTimes.manifestEveryMs, signal, 'loop'))
      inBackground('renewing documents', publishAll());
  };
  return [tidy(), keepTrust(), renewDocuments()];
}

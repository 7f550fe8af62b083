import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { newId } from '../device/dice.ts';
import type { Birth } from '../model/message.ts';
import type { Store } from '../store/store.ts';
import { type AuditIntake, makeAuditIntake } from './audit-intake.ts';
import { makeCertificates } from './certificates.ts';
import type { Changes } from './changes.ts';
import type { MasterConfig } from './config.ts';
import type { Credentials } from './credentials.ts';
import { type Incoming, makeIncoming } from './incoming.ts';
import { type Logs, makeLogs } from './logs.ts';
import { makeNodeWords } from './node-words.ts';
import type { Nodes } from './nodes.ts';
import type { Outgoing } from './outgoing.ts';
import { makeOutputStreams, type OutputStreams } from './output-streams.ts';
import type { Publishing } from './publishing.ts';
import { checkSealKey } from './seal-keys.ts';
import { makeShadows, type Shadows } from './shadows.ts';
import type { Tasks } from './tasks.ts';

/** What nodes say, and who hears it. */
export interface Hearing {
  readonly incoming: Incoming;
  readonly auditIntake: AuditIntake;
  readonly shadows: Shadows;
  readonly logs: Logs;
  readonly outputs: OutputStreams;
}

export function makeHearing(
  parts: {
    readonly store: Store;
    readonly clock: Clock;
    readonly log: Log;
    readonly outgoing: Outgoing;
    readonly credentials: Pick<Credentials, 'authority' | 'book' | 'runs' | 'trust'>;
    readonly nodes: Nodes;
    readonly tasks: Tasks;
    readonly publishing: Pick<Publishing, 'policies' | 'publishServices'>;
    readonly changes: Pick<Changes, 'rollouts'>;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
  },
  { audit, offlineGraceMs }: Pick<MasterConfig, 'audit' | 'offlineGraceMs'>,
): Hearing {
  const { store, clock, log, outgoing, inBackground } = parts;
  const { authority, book, runs, trust } = parts.credentials;
  const { fleet, clones, nodeEvents, weights } = parts.nodes;
  const { intake, assignments, aheadNodes, progress } = parts.tasks;
  const { policies, publishServices } = parts.publishing;
  const { rollouts } = parts.changes;
  const certificates = makeCertificates({ authority, runs, book, outgoing, clock, log });
  const shadows = makeShadows();
  const auditIntake = makeAuditIntake({ audit: store.audit, authority, outgoing, clock, log }, audit);
  const logs = makeLogs({ outgoing, clock, newId });
  const outputs = makeOutputStreams({ outgoing, clock, newId, inBackground });

  function withOwnKey(node: string, birth: Birth): Birth {
    const moment = { now: clock.now(), revoked: book.revoked, expiredToleranceMs: offlineGraceMs };
    const { birth: checked, reason } = checkSealKey(node, birth, authority.bundle, moment);
    if (reason !== undefined) log.warn('a key for secrets is not believed', { node, reason });
    return checked;
  }

  const incoming = makeIncoming({
    log,
    hears: node => fleet.get(node)?.state !== 'quarantined' && !book.isCutOff(node),
    handlers: makeNodeWords({
      ...{ fleet, clones, nodeEvents, weights, intake, assignments, aheadNodes, rollouts, policies, trust },
      ...{ auditIntake, shadows, progress, certificates, outputs, logs, outgoing, publishServices, withOwnKey },
    }),
  });
  return { incoming, auditIntake, shadows, logs, outputs };
}

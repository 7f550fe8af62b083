import type { Clock } from '../base/clock.ts';
import type { Authority } from '../identity/authority.ts';
import type { Outgoing } from './outgoing.ts';

/** The signed list of the newest documents, by which a node notices that one is withheld. */
export interface ManifestOutbox {
  publish(): Promise<void>;
}

export function makeManifestOutbox(
  parts: {
    readonly authority: Authority;
    readonly outgoing: Pick<Outgoing, 'manifest'>;
    readonly clock: Clock;
    readonly nextRevision: () => number;
    readonly policyRevision: () => number;
    readonly serviceRevisions: () => Readonly<Record<string, number>>;
  },
  settings: { readonly epoch: number },
): ManifestOutbox {
  const { authority, outgoing, clock, nextRevision, policyRevision, serviceRevisions } = parts;
  return {
    publish: () =>
      outgoing.manifest(nextRevision(), {
        epoch: settings.epoch,
        time: Math.floor(clock.now()),
        policy: policyRevision(),
        services: serviceRevisions(),
        revoked: [],
        roots: [authority.rootPem],
        signers: [authority.configPem],
      }),
  };
}

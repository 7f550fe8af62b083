import type { Clock } from '../base/clock.ts';
import type { Authority } from '../identity/authority.ts';
import type { Manifest } from '../model/manifest.ts';
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
    /** Serial numbers. */
    readonly revoked: () => Iterable<string>;
    /** Where nodes reach the API. */
    readonly api: () => NonNullable<Manifest['api']>;
    /** A manifest with all that is trusted now has been handed to the broker. */
    readonly onPublished: (revision: number, manifest: Manifest) => void;
  },
  settings: { readonly epoch: number },
): ManifestOutbox {
  const { authority, outgoing, clock, nextRevision, policyRevision, serviceRevisions, revoked, api, onPublished } =
    parts;
  return {
    async publish() {
      const revision = nextRevision();
      const manifest: Manifest = {
        epoch: settings.epoch,
        time: Math.floor(clock.now()),
        policy: policyRevision(),
        services: serviceRevisions(),
        revoked: [...revoked()],
        roots: [...authority.roots],
        signers: [...authority.signers],
        issuers: [...authority.issuers],
        api: [...api()],
      };
      await outgoing.manifest(revision, manifest);
      onPublished(revision, manifest);
    },
  };
}

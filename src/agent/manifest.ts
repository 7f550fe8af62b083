import { decode } from '../base/shape.ts';
import { manifestSchema } from '../model/manifest.ts';
import type { NodeClock } from './clock.ts';
import type { SignedSlot } from './signed-inbox.ts';
import type { Trust } from './trust.ts';
import type { KnownManifest } from './withheld.ts';

/** The manifest: whom to believe from now on, what time it was at least, and which documents are the newest. */
export function manifestSlot(parts: {
  readonly trust: Trust;
  readonly clock: Pick<NodeClock, 'atLeast'>;
  readonly onTaken: (manifest: KnownManifest) => void;
}): SignedSlot {
  const { trust, clock, onTaken } = parts;
  return {
    kind: 'manifest',
    subject: 'all',
    take(body, { revision, expiresAt }) {
      const manifest = decode(manifestSchema, body, 'manifest');
      trust.take(manifest, revision);
      clock.atLeast(manifest.time);
      const { policy, services, api } = manifest;
      onTaken({ policy, services, api, revision, expiresAt });
    },
  };
}

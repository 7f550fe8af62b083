import type { Log } from '../base/log.ts';
import { decode } from '../base/shape.ts';
import { manifestSchema } from '../model/message.ts';
import type { SignedSlot } from './signed-inbox.ts';

/** The manifest names the newest documents: one that did not come is noticed. */
export function manifestSlot(parts: {
  readonly log: Log;
  readonly policyRevision: () => number | undefined;
}): SignedSlot {
  const { log, policyRevision } = parts;
  return {
    kind: 'manifest',
    subject: 'all',
    file: 'manifest',
    take(body) {
      const manifest = decode(manifestSchema, body, 'manifest');
      const inForce = policyRevision() ?? 0;
      if (manifest.policy > inForce) {
        log.warn('there is a newer policy than the one that came', { inForce, newest: manifest.policy });
      }
    },
  };
}

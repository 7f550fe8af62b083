/** The newest signed document of its kind and subject that was ever taken (persisted). */
export interface InForce {
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** What an envelope says of its place among others of its kind and subject. */
export interface Issue extends InForce {
  readonly issuedAt: number;
}

export type Succession =
  | { readonly take: 'replace' }
  /** The revision in force came again, perhaps with a later expiry: its content is the same. */
  | { readonly take: 'unchanged' }
  | { readonly take: 'refuse'; readonly reason: string };

/**
 * May a signed document replace the one in force? `now` is milliseconds since 1970 as far as known. A revision never goes back, so that
 * an old document cannot be replayed; what has expired is refused even when it is newer.
 */
export function succeed(inForce: InForce | undefined, incoming: Issue, now: number): Succession {
  if (inForce !== undefined && incoming.revision < inForce.revision) {
    return refuse(`revision ${incoming.revision} is older than ${inForce.revision}, which is in force`);
  }
  if (incoming.expiresAt <= incoming.issuedAt) return refuse('its expiry is not after its issue');
  if (incoming.expiresAt <= now) return refuse(`it expired ${now - incoming.expiresAt} ms ago`);
  return { take: inForce?.revision === incoming.revision ? 'unchanged' : 'replace' };
}

function refuse(reason: string): Succession {
  return { take: 'refuse', reason };
}

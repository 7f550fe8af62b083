/** What an envelope says of its place among others of its kind and subject. */
export interface Issue {
  readonly revision: number;
  /** Milliseconds since 1970. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export type Succession =
  | { readonly step: 'take' }
  /** The revision that is in force has come again: nothing to do, and to be acknowledged. */
  | { readonly step: 'unchanged' }
  | { readonly step: 'refuse'; readonly reason: string };

/**
 * May a signed document replace the one in force? `current` is the newest ever taken (persisted), `now` milliseconds since 1970 as far
 * as known. A revision never goes back, so that an old document cannot be replayed; what has expired is refused even when it is
 * newer. The same revision with a later expiry is taken: that is how a document is renewed.
 */
export function judgeSuccession(
  current: Pick<Issue, 'revision' | 'expiresAt'> | undefined,
  incoming: Issue,
  now: number,
): Succession {
  if (current !== undefined && incoming.revision < current.revision) {
    return refuse(`revision ${incoming.revision} is older than ${current.revision}, which is in force`);
  }
  if (incoming.expiresAt <= incoming.issuedAt) return refuse('its expiry is not after its issue');
  if (incoming.expiresAt <= now) return refuse(`it expired ${now - incoming.expiresAt} ms ago`);
  const renewed =
    current === undefined || incoming.revision > current.revision || incoming.expiresAt > current.expiresAt;
  return { step: renewed ? 'take' : 'unchanged' };
}

function refuse(reason: string): Succession {
  return { step: 'refuse', reason };
}

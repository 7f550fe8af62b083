/**
 * Is it one board that speaks in a node's name, or are there copies of its card?
 *
 * An honest node is one agent at a time: its starts follow each other, each with a higher boot number, and a start that is over does not
 * speak again. So these are signs of a copy, or of a card that was restored from a backup:
 *   - a start that another one has followed already speaks again (two live boards, taking the session from each other);
 *   - a start with a lower boot number than one that was heard.
 * A sign counts once the same start has said a later thing, so much later that no message on its way explains both. It does not tell which
 * of them is the honest one, and so the identity as a whole is to be put aside.
 *
 * What honest nodes do, and what is therefore none: they connect again any number of times and from any address, while the
 * broker still holds a dead connection (the same start); they start again (a higher boot); they lose power on a card that has not kept the
 * last boot number (the same number again, but the start before it is never heard any more).
 */

/** One start of an agent, as its births tell it. */
export interface Life {
  /** Random, chosen by the agent when it starts: a copied card does not have it. */
  readonly start: string;
  readonly boot: number;
  /** Of the newest birth. */
  readonly seq: number;
  /** Where it was heard from. */
  readonly address: string;
}

export interface Lives {
  readonly current: Life;
  /** Starts that were followed by another, newest first. */
  readonly past: readonly Life[];
  /** A sign, and when it was heard (monotonic milliseconds). */
  readonly suspect?: { readonly life: Life; readonly at: number };
}

/** `suspect`: not to be believed, to be asked again after `confirmAfterMs`. */
export type LifeVerdict =
  | { readonly verdict: 'lives' | 'suspect' }
  | { readonly verdict: 'copied'; readonly reason: string };

export const confirmAfterMs = 2_000;
const maxPast = 8;

/** Judges a birth; `lives` is undefined at the first one since the node joined. */
export function judgeLife(lives: Lives | undefined, heard: Life, now: number): LifeVerdict & { readonly lives: Lives } {
  if (lives === undefined) return { verdict: 'lives', lives: { current: heard, past: [] } };
  const { current, past, suspect } = lives;
  if (heard.start === current.start) {
    const newest = { ...heard, seq: Math.max(heard.seq, current.seq) };
    return { verdict: 'lives', lives: { ...lives, current: newest } };
  }
  const isOver = past.some(life => life.start === heard.start);
  if (!isOver && heard.boot >= current.boot) {
    return { verdict: 'lives', lives: { ...lives, current: heard, past: [current, ...past].slice(0, maxPast) } };
  }
  if (suspect?.life.start !== heard.start)
    return { verdict: 'suspect', lives: { ...lives, suspect: { life: heard, at: now } } };
  const isLater = heard.seq > suspect.life.seq && now - suspect.at >= confirmAfterMs;
  if (!isLater) return { verdict: 'suspect', lives };
  return { verdict: 'copied', reason: describe(current, heard), lives };
}

function describe(current: Life, heard: Life): string {
  const where = `boot ${current.boot} from ${current.address}, boot ${heard.boot} from ${heard.address}`;
  return heard.boot < current.boot
    ? `its boot counter has gone back (${where}): a copied card, or one restored from a backup`
    : `two boards speak as this node in turns (${where}): a copied card`;
}

import type { Log } from './log.ts';
import { type Rate, TokenBucket } from './token-bucket.ts';

/** Enough to see what goes on, and then now and again that it still does. */
const warningRate: Rate = { burst: 10, perSecond: 0.1 };

/**
 * A log whose warnings cannot be made to flood by who is on the other side of a connection: each sentence has a rate of its own, and the
 * next one tells in `unsaid` how many were left out. `now` is in monotonic milliseconds.
 */
export function ratedLog(log: Log, now: () => number): Log {
  const bySentence = new Map<string, { readonly bucket: TokenBucket; unsaid: number }>();
  return {
    debug: (sentence, fields) => log.debug(sentence, fields),
    info: (sentence, fields) => log.info(sentence, fields),
    error: (sentence, fields) => log.error(sentence, fields),
    with: fields => ratedLog(log.with(fields), now),
    warn(sentence, fields) {
      const known = bySentence.get(sentence) ?? { bucket: new TokenBucket(warningRate, now()), unsaid: 0 };
      bySentence.set(sentence, known);
      if (!known.bucket.take(1, now())) {
        known.unsaid++;
        return;
      }
      log.warn(sentence, known.unsaid === 0 ? fields : { ...fields, unsaid: known.unsaid });
      known.unsaid = 0;
    },
  };
}

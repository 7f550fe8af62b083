import { MesoliteError } from '../base/errors.ts';
import type { Dial } from '../link/dial.ts';

/** A dial that takes the next of several at each attempt, beginning with the first, and stays with one that works. */
export function dialAny(dials: readonly Dial[]): Dial {
  let next = 0;
  return async signal => {
    const dial = dials[next % dials.length];
    if (dial === undefined) throw new MesoliteError('UNAVAILABLE', 'there is no address of a master to connect to');
    try {
      return await dial(signal);
    } catch (error) {
      next++;
      throw error;
    }
  };
}

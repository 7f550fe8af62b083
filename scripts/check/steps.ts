import { printRow, say } from './rows.ts';

/** A step did not hold, and that has been said. */
export class FailedStep extends Error {}

/** One thing that is to hold, on which the next ones stand: says so with the milliseconds it took, or throws a `FailedStep`. */
export type Step = (what: string, act: () => Promise<unknown> | unknown) => Promise<void>;

export function makeStep(json: boolean): Step {
  return async (what, act) => {
    const from = performance.now();
    let why: string | undefined;
    try {
      await act();
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
    }
    const met = why === undefined;
    const value = Math.round(performance.now() - from);
    const said = met ? what : `${what}: ${why}`;
    if (json) printRow({ case: said, value, unit: 'ms', peer: null, ratio: null, goal: 0, met });
    else say(`${met ? '✓' : '✗'} ${said} (${value} ms)`);
    if (!met) throw new FailedStep(why);
  };
}

import { messageOf } from './errors.ts';
import type { Log } from './log.ts';

/** Work that nobody waits for while a role runs: a failure is logged, since what matters is said again by its own part. */
export class Background {
  readonly #log: Log;
  readonly #underWay = new Set<Promise<void>>();

  constructor(log: Log) {
    this.#log = log;
  }

  /** Takes over `work`; `what` names it in the log. */
  readonly run = (what: string, work: Promise<unknown>): void => {
    const done = work
      .catch(error => this.#log.error('something failed', { what, reason: messageOf(error), error }))
      .then(() => void this.#underWay.delete(done));
    this.#underWay.add(done);
  };

  /** Settles when all of it is over, also what began meanwhile: the owner closes nothing before that. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }
}

import type { AccessRecord } from '../model/access.ts';

/** Records that wait for the process which takes over; of a request each, and of the connections that there may be. */
const maxWaiting = 20_000;

/** Access records that come when the agent has let go of its link: they wait until somebody else takes them to the master. */
export class LateRecords {
  readonly #waiting: AccessRecord[] = [];
  #to: ((record: AccessRecord) => void) | undefined;

  readonly record = (record: AccessRecord): void => {
    if (this.#to !== undefined) this.#to(record);
    else if (this.#waiting.length < maxWaiting) this.#waiting.push(record);
  };

  /** Hands on those that wait, and each that comes. */
  readonly sendTo = (to: (record: AccessRecord) => void): void => {
    this.#to = to;
    for (const record of this.#waiting.splice(0)) to(record);
  };
}

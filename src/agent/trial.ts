import { type Clock, minuteMs, secondMs } from '../base/clock.ts';
import { aborted } from '../base/signal.ts';
import type { AccessRecord } from '../model/access.ts';
import { type CallCounts, noCalls, sumOfCalls, type Trial } from '../model/rollout.ts';

/**
 * How calls fare here, for the master to judge what it rolls out: while nothing is tried over the last 10 to 20 minutes, and from the
 * moment that something is, since then.
 */
export interface TrialCounts {
  record(record: AccessRecord): void;
  /** From now on this rollout's changes are in force here, or none's. */
  enter(rollout: string | undefined): void;
  /** What is tried here, and how it goes. */
  current(): Trial | undefined;
  /** Calls `tell` when it goes on, until `signal` aborts. */
  run(signal: AbortSignal): Promise<void>;
}

const windowMs = 10 * minuteMs;
/** A change that breaks things is to be taken back before many have suffered from it. */
const tellEveryMs = 2 * secondMs;

type Counting = { -readonly [K in keyof CallCounts]: number };

export function makeTrialCounts(parts: { readonly clock: Clock; readonly tell: () => void }): TrialCounts {
  const { clock, tell } = parts;
  /** Without a trial: the present window, and the one before it. */
  let present: Counting = { ...noCalls };
  let previous: CallCounts = noCalls;
  let windowAt = clock.monotonic();
  let trial: { readonly rollout: string; readonly before: CallCounts; readonly since: Counting } | undefined;

  let told: string | undefined;
  let isRunning = false;
  let cancel = () => {};

  function look(): void {
    const now = trial && JSON.stringify(trial);
    if (now !== undefined && now !== told) tell();
    told = now;
    lookLater();
  }

  /** While nothing is tried there is nothing to look at. */
  function lookLater(): void {
    cancel();
    if (isRunning && trial !== undefined) cancel = clock.after(tellEveryMs, look);
  }

  function turnWindow(): void {
    const windows = Math.floor((clock.monotonic() - windowAt) / windowMs);
    if (windows === 0) return;
    previous = windows === 1 ? present : noCalls;
    present = { ...noCalls };
    windowAt += windows * windowMs;
  }

  return {
    record({ direction, verdict, status }) {
      if (trial === undefined) turnWindow();
      const counts = trial?.since ?? present;
      counts.requests++;
      if (status >= 500) counts.errors++;
      if (direction !== 'inbound') return;
      counts.decisions++;
      if (verdict === 'deny') counts.denied++;
    },
    enter(rollout) {
      if (rollout === trial?.rollout) return;
      if (rollout === undefined) {
        trial = undefined;
        return;
      }
      turnWindow();
      // what another trial did here says nothing of how it was before
      const before = trial?.before ?? sumOfCalls(previous, present);
      trial = { rollout, before, since: { ...noCalls } };
      lookLater();
    },
    current: () => trial && { ...trial, since: { ...trial.since } },
    async run(signal) {
      isRunning = true;
      lookLater();
      await aborted(signal);
      isRunning = false;
      cancel();
    },
  };
}

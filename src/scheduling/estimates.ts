import { unknownDurationMs } from '../model/job.ts';
import { draftOf, emptyMap, entriesOf, lookUp, type ShardedMap } from './sharded-map.ts';

/** What is learned of one class, on one profile or over all: durations are log-normal, so their logarithms are averaged. */
export interface Experience {
  readonly meanLn: number;
  readonly varianceLn: number;
  readonly count: number;
  /** Number of the completion that was learned last. */
  readonly learnedAt: number;
}

/** Expected times, learned from completions, as one immutable value of at most `maxEstimates` entries. */
export interface Estimates {
  readonly entries: ShardedMap<Experience>;
  /** How many completions have been learned. */
  readonly learned: number;
}

/** One entry, as it is kept: of a class on a profile, or on all (`profile` empty). */
export interface EstimateRow extends Experience {
  readonly profile: string;
  readonly class: string;
}

/** A task that ran to its end: `class` as in `PendingTask`, profile and speed of the node that ran it. */
export interface FinishedTask {
  readonly class: string;
  readonly profile: string;
  readonly speed: number;
  readonly durationMs: number;
}

/** What is asked: how long does work of this class take on such a node? */
export interface Question {
  readonly class: string;
  readonly type: 'service' | 'batch';
  readonly profile: string;
  readonly speed: number;
  /** What the job says it takes on a node of speed 1. */
  readonly expectedMs?: number | undefined;
}

export interface Estimate {
  /** The mean of what is expected, a whole number of at least 1. */
  readonly ms: number;
  /** How sure: the standard deviation of its logarithm, so that two thirds of all runs take `ms` within a factor e^sigma. */
  readonly sigma: number;
  /** Learned on this profile, learned on others and scaled by speed, told by the job, or not known at all. */
  readonly from: 'profile' | 'class' | 'job' | 'unknown';
}

export const noEstimates: Estimates = { entries: emptyMap(), learned: 0 };

/** When full, the eighth that was not learned for the longest time is forgotten. */
export const maxEstimates = 10_000;

/** The weight of the newest completion, once there are enough of them: about the last ten count. */
const newestWeight = 0.2;
/** How far a ratio of speeds, or what a job says of itself, is usually off: a factor of 1.6. */
const guessSigma = 0.5;
const unknownSigma = 1;
/** A few wild runs must not lift the mean of a class beyond a factor of 1.6 over its median. */
const maxVarianceLn = 1;

/** Learns one completion: under its class and profile, and under its class alone as the time on a node of speed 1. */
export function learn(estimates: Estimates, { class: name, profile, speed, durationMs }: FinishedTask): Estimates {
  const learned = estimates.learned + 1;
  const draft = draftOf(estimates.entries);
  const ms = Math.max(1, durationMs);
  for (const [key, value] of [
    [keyOf(profile, name), ms],
    [keyOf('', name), ms * speed],
  ] as const) {
    draft.set(key, updated(draft.get(key), Math.log(value), learned));
  }
  return { entries: forgetOldest(draft.finish()), learned };
}

/** What is known of these classes on these profiles, and over all. */
export function rowsOf(
  { entries }: Estimates,
  classes: ReadonlySet<string>,
  profiles: ReadonlySet<string>,
): EstimateRow[] {
  return [...classes].flatMap(name =>
    ['', ...profiles].flatMap(profile => {
      const known = lookUp(entries, keyOf(profile, name));
      return known === undefined ? [] : [{ profile, class: name, ...known }];
    }),
  );
}

export function oldestOf({ entries }: Estimates): number {
  let oldest = Number.POSITIVE_INFINITY;
  for (const [, { learnedAt }] of entriesOf(entries)) oldest = Math.min(oldest, learnedAt);
  return oldest;
}

/** What was kept. */
export function recall(rows: readonly EstimateRow[]): Estimates {
  const draft = draftOf(noEstimates.entries);
  let learned = 0;
  for (const { profile, class: name, ...experience } of rows) {
    draft.set(keyOf(profile, name), experience);
    learned = Math.max(learned, experience.learnedAt);
  }
  return { entries: forgetOldest(draft.finish()), learned };
}

/** What is expected, from the nearest thing that is known. */
export function estimate(estimates: Estimates, question: Question): Estimate {
  const { class: name, type, profile, speed, expectedMs } = question;
  const own = lookUp(estimates.entries, keyOf(profile, name));
  if (own !== undefined) return { ms: meanMs(own), sigma: sigmaOf(own), from: 'profile' };
  const scaled = lookUp(estimates.entries, keyOf('', name));
  if (scaled !== undefined) {
    return { ms: wholeMs(meanMs(scaled) / speed), sigma: Math.hypot(sigmaOf(scaled), guessSigma), from: 'class' };
  }
  if (expectedMs !== undefined) return { ms: wholeMs(expectedMs / speed), sigma: guessSigma, from: 'job' };
  return { ms: wholeMs(unknownDurationMs[type] / speed), sigma: unknownSigma, from: 'unknown' };
}

/** Under what it is learned how long tasks of a class take from their placement until they run. */
export function stagingOf(name: string): string {
  return `staging ${name}`;
}

/** How long a task takes there before it runs, as far as that was learned; 0 where it was not. */
export function stagingMs(estimates: Estimates, { class: name, profile, speed }: Question): number {
  const own = lookUp(estimates.entries, keyOf(profile, stagingOf(name)));
  if (own !== undefined) return meanMs(own);
  const elsewhere = lookUp(estimates.entries, keyOf('', stagingOf(name)));
  return elsewhere === undefined ? 0 : wholeMs(meanMs(elsewhere) / speed);
}

/** When a task that has run for `elapsedMs` may end, from now: past its estimate it is granted a sigma of what it has run. */
export function remainingMs({ ms, sigma }: Estimate, elapsedMs: number): number {
  return wholeMs(elapsedMs < ms ? ms - elapsedMs : elapsedMs * Math.expm1(sigma));
}

/** A profile is a name without spaces, so that no two pairs share a key. */
function keyOf(profile: string, name: string): string {
  return `${profile} ${name}`;
}

function updated(old: Experience | undefined, ln: number, learnedAt: number): Experience {
  if (old === undefined) return { meanLn: ln, varianceLn: 0, count: 1, learnedAt };
  const count = old.count + 1;
  const weight = Math.max(1 / count, newestWeight);
  const off = ln - old.meanLn;
  return {
    meanLn: old.meanLn + weight * off,
    varianceLn: (1 - weight) * (old.varianceLn + weight * off * off),
    count,
    learnedAt,
  };
}

/** The mean of a log-normal variable. */
function meanMs({ meanLn, varianceLn }: Experience): number {
  return wholeMs(Math.exp(meanLn + Math.min(varianceLn, maxVarianceLn) / 2));
}

/** With few completions the spread itself is hardly known. */
function sigmaOf({ varianceLn, count }: Experience): number {
  return Math.sqrt(varianceLn + guessSigma ** 2 / count);
}

function wholeMs(ms: number): number {
  return Math.max(1, Math.round(ms));
}

function forgetOldest(entries: ShardedMap<Experience>): ShardedMap<Experience> {
  if (entries.size <= maxEstimates) return entries;
  const byAge = [...entriesOf(entries)].sort(([, a], [, b]) => a.learnedAt - b.learnedAt);
  const draft = draftOf(entries);
  for (const [key] of byAge.slice(0, maxEstimates / 8)) draft.delete(key);
  return draft.finish();
}

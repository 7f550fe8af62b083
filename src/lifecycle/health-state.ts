import type { TaskSpec } from '../model/task.ts';

export type HealthRules = NonNullable<TaskSpec['health']>;

/** What is known of the health of one run; times by the monotonic clock, in milliseconds. */
export interface HealthState {
  readonly since: number;
  /** Absent while a check is under way. */
  readonly nextAt?: number;
  readonly passed: boolean;
  /** Failed checks in a row since one passed. */
  readonly failures: number;
}

/** A starting task is asked this often, so that it is of use as soon as it can be. */
const startingCheckMs = 500;
/** No interval is shorter. */
const minCheckMs = 100;

export function beginHealth(rules: HealthRules, now: number, delayMs = rules.initialDelayMs): HealthState {
  return { since: now, nextAt: now + delayMs, passed: false, failures: 0 };
}

/** A check has begun: none is due until its result is in. */
export function checking({ since, passed, failures }: HealthState): HealthState {
  return { since, passed, failures };
}

/** Takes the result of a check. */
export function afterCheck(rules: HealthRules, state: HealthState, healthy: boolean, now: number): HealthState {
  const passed = state.passed || healthy;
  const intervalMs = Math.max(minCheckMs, rules.intervalMs);
  const nextAt = now + (passed ? intervalMs : Math.min(intervalMs, startingCheckMs));
  return { since: state.since, nextAt, passed, failures: healthy ? 0 : state.failures + 1 };
}

/**
 * Must the run end? After `threshold` failures in a row; before the first success it has the initial delay or the grace period,
 * whichever is longer, and as many intervals instead, for then it is asked more often.
 */
export function isUnhealthy(rules: HealthRules, state: HealthState, now: number): boolean {
  if (state.failures === 0) return false;
  if (state.passed) return state.failures >= rules.threshold;
  const { initialDelayMs, gracePeriodMs = 0, threshold, intervalMs } = rules;
  return now >= state.since + Math.max(initialDelayMs, gracePeriodMs) + threshold * Math.max(minCheckMs, intervalMs);
}

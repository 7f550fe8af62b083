import { backoffMs } from '../base/backoff.ts';
import type { Random } from '../base/random.ts';
import type { TaskSpec } from '../model/task.ts';

export type RestartRules = TaskSpec['restart'];

/** What a run came to; `unseen` is the end that nobody saw (a power cut), no fault of the task. */
export type RunOutcome = 'success' | 'failure' | 'unseen';

/** Runs in a row that ended early, this one counted: a run of `resetAfterMs` or more starts the count anew. */
export function failuresAfter(rules: RestartRules, outcome: RunOutcome, failuresBefore: number, ranMs: number): number {
  const before = ranMs >= rules.resetAfterMs ? 0 : failuresBefore;
  return outcome === 'unseen' ? before : before + 1;
}

/** Is a task started again whose run came to `outcome`? Not after `attempts` failures in a row. */
export function shouldRestart(rules: RestartRules, outcome: RunOutcome, failures: number): boolean {
  if (rules.policy === 'never') return false;
  if (rules.policy === 'onFailure' && outcome === 'success') return false;
  return outcome === 'unseen' || failures < rules.attempts;
}

/** The wait before that restart: exponential with jitter. */
export function restartDelayMs(rules: RestartRules, failures: number, random: Random): number {
  return backoffMs(Math.max(0, failures - 1), { baseMs: rules.backoffMs, maxMs: rules.maxBackoffMs }, random);
}

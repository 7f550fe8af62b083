import type { Random } from './random.ts';

export interface BackoffSettings {
  readonly baseMs: number;
  readonly maxMs: number;
}

/** The wait before attempt `attempt` (0 is the first retry): exponential with full jitter, at least a tenth of the ceiling. */
export function backoffMs(attempt: number, settings: BackoffSettings, random: Random): number {
  const ceiling = Math.min(settings.maxMs, settings.baseMs * 2 ** Math.min(attempt, 30));
  return Math.round(ceiling * (0.1 + 0.9 * random()));
}

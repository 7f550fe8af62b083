import { secondMs } from '../base/clock.ts';

/** Envoy's slow start (Istio: `warmup`): a host that has just joined gets its share little by little. */
export interface SlowStart {
  readonly windowMs: number;
  /** What it gets at least, in percent of its weight. */
  readonly minPercent: number;
  /** 1 is linear; more is faster at the beginning. */
  readonly aggression: number;
}

/** What a host counts for `ageMs` after it joined: `max(minPercent, (max(age, 1 s) / window) ^ (1 / aggression))`, 0 to 1. */
export function warmth(ageMs: number, { windowMs, minPercent, aggression }: SlowStart): number {
  if (ageMs >= windowMs) return 1;
  const share = Math.min(1, Math.max(ageMs, secondMs) / windowMs);
  return Math.max(minPercent / 100, aggression === 1 ? share : share ** (1 / aggression));
}

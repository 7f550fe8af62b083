import { minuteMs, secondMs } from '../base/clock.ts';
import type { Usage } from '../model/profile.ts';

/** How a node bears its load: `busy` has little left to give, `slow` is kept slow by heat or lack of power. */
export type StrainLevel = 'calm' | 'busy' | 'slow';

/** What the endpoints of a node weigh beside those of others. */
export const strainWeights: Readonly<Record<StrainLevel, number>> = { calm: 100, busy: 50, slow: 25 };

/** What takes a second on a calm node takes about so many: a Raspberry Pi that is throttled runs at about half of its clock. */
export const slowdowns: Readonly<Record<StrainLevel, number>> = { calm: 1, busy: 1.25, slow: 2 };

export interface Strain {
  readonly level: StrainLevel;
  /** Where it seems to go, and since when; monotonic milliseconds. */
  readonly next: { readonly level: StrainLevel; readonly since: number };
}

/** A level must last before it is believed: `slow` is believed at once, `busy` after a while, and what is better after longer. */
const settleMs = { slow: 0, busy: 20 * secondMs, better: minuteMs } as const;

/** The Raspberry Pi's firmware slows down between 80 and 85 °C, other processors later. */
const hot = { from: 85, until: 80 } as const;
const full = { from: 0.9, until: 0.7 } as const;
/** Programs that want to run, for each core. */
const crowded = { from: 2, until: 1.5 } as const;

export function calmSince(now: number): Strain {
  return { level: 'calm', next: { level: 'calm', since: now } };
}

/** The strain after a node has told its usage. What goes up and down about a limit changes nothing. */
export function judgeStrain(strain: Strain, usage: Usage, cpuCount: number, now: number): Strain {
  const level = levelOf(strain.level, usage, cpuCount);
  const since = level === strain.next.level ? strain.next.since : now;
  const isBetter = strainWeights[level] > strainWeights[strain.level];
  const settles = isBetter || level === 'calm' ? settleMs.better : settleMs[level];
  return { level: now - since >= settles ? level : strain.level, next: { level, since } };
}

function levelOf(
  before: StrainLevel,
  { cpu, load1, temperatureC = 0, throttled = 0 }: Usage,
  cpuCount: number,
): StrainLevel {
  if (throttled === 1) return 'slow';
  const edge = before === 'calm' ? 'from' : 'until';
  const isBusy = cpu >= full[edge] || load1 / cpuCount >= crowded[edge] || temperatureC >= hot[edge];
  return isBusy ? 'busy' : 'calm';
}

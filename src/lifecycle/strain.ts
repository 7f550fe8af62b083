import { minuteMs, secondMs } from '../base/clock.ts';
import type { Thermal, Usage } from '../model/profile.ts';

/**
 * How a node bears its load: `busy` has little left to give, `slow` is kept slow by heat or lack of power, `hot` is as warm as its board
 * should never be, and gets no more tasks.
 */
export type StrainLevel = 'calm' | 'busy' | 'slow' | 'hot';

/** What the endpoints of a node weigh beside those of others. */
export const strainWeights: Readonly<Record<StrainLevel, number>> = { calm: 100, busy: 50, slow: 25, hot: 10 };

/** What takes a second on a calm node takes about so many: a Raspberry Pi that is throttled runs at about half of its clock. */
export const slowdowns: Readonly<Record<StrainLevel, number>> = { calm: 1, busy: 1.25, slow: 2, hot: 2 };

export interface Strain {
  readonly level: StrainLevel;
  /** Where it seems to go, and since when; monotonic milliseconds. */
  readonly next: { readonly level: StrainLevel; readonly since: number };
}

/** A level must last before it is believed: `hot` and `slow` are believed at once, `busy` after a while, and what is better after longer. */
const settleMs = { hot: 0, slow: 0, busy: 20 * secondMs, better: minuteMs } as const;

/** Where a profile says nothing: the Raspberry Pi's firmware slows down between 80 and 85 °C, other processors later. */
const usualThermal: Thermal = { throttleC: 85, drainC: 150, resumeC: 80 };
const full = { from: 0.9, until: 0.7 } as const;
/** Programs that want to run, for each core. */
const crowded = { from: 2, until: 1.5 } as const;

export function calmSince(now: number): Strain {
  return { level: 'calm', next: { level: 'calm', since: now } };
}

/** What a node can bear. */
export interface Bearing {
  readonly cpuCount: number;
  readonly thermal?: Thermal | undefined;
}

/** The strain after a node has told its usage. What goes up and down about a limit changes nothing. */
export function judgeStrain(strain: Strain, usage: Usage, bearing: Bearing, now: number): Strain {
  const level = levelOf(strain.level, usage, bearing);
  const since = level === strain.next.level ? strain.next.since : now;
  const isBetter = strainWeights[level] > strainWeights[strain.level];
  const settles = isBetter || level === 'calm' ? settleMs.better : settleMs[level];
  return { level: now - since >= settles ? level : strain.level, next: { level, since } };
}

function levelOf(
  before: StrainLevel,
  { cpu, load1, temperatureC = 0, throttled = 0 }: Usage,
  { cpuCount, thermal = usualThermal }: Bearing,
): StrainLevel {
  const { throttleC, drainC, resumeC } = thermal;
  if (temperatureC >= (before === 'hot' ? resumeC : drainC)) return 'hot';
  if (throttled === 1) return 'slow';
  const edge = before === 'calm' ? 'from' : 'until';
  const isWarm = temperatureC >= (before === 'calm' ? throttleC : resumeC);
  const isBusy = cpu >= full[edge] || load1 / cpuCount >= crowded[edge] || isWarm;
  return isBusy ? 'busy' : 'calm';
}

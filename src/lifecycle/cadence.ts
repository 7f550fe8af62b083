import { hourMs, minuteMs } from '../base/clock.ts';

/**
 * A connection is kept open by a packet every two minutes, with or without heartbeats: slower ones would save nothing. Less than 8 MB a
 * month is not to be had.
 */
export const slowestHeartbeatMs = 110_000;

/** A heartbeat that tells what has moved, with what MQTT, TLS and TCP add: 310 bytes were measured, without a temperature and with a short name. */
const beatBytes = 400;

/** What is not urgent waits so long for company on a metered link, and longer once the budget is used up. */
const holds = { within: 5 * minuteMs, over: 30 * minuteMs } as const;

export interface Cadence {
  readonly heartbeatMs: number;
  /** What is not urgent is told so much later. */
  readonly holdMs: number;
}

/**
 * How often a node speaks whose link is paid for by the byte: `normalMs` doubled until heartbeats take half of what other things leave of
 * the budget, a quarter of it at least. `dayBytes` is what the last 24 hours took, `otherPerHour` all but heartbeats in the last hour.
 */
export function cadenceOf(
  normalMs: number,
  budgetPerDay: number,
  { dayBytes, otherPerHour }: { readonly dayBytes: number; readonly otherPerHour: number },
): Cadence {
  const slowest = Math.max(normalMs, slowestHeartbeatMs);
  if (dayBytes > budgetPerDay) return { heartbeatMs: slowest, holdMs: holds.over };
  const perHour = budgetPerDay / 24;
  const forBeats = Math.max(perHour / 4, perHour - otherPerHour) / 2;
  let heartbeatMs = normalMs;
  while (heartbeatMs < slowest && (beatBytes * hourMs) / heartbeatMs > forBeats) heartbeatMs *= 2;
  return { heartbeatMs: Math.min(slowest, heartbeatMs), holdMs: holds.within };
}

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import * as v from 'valibot';
import type { Clock } from '../base/clock.ts';
import { decodeJson } from '../base/shape.ts';

const rate = v.pipe(v.number(), v.finite(), v.gtValue(0));
const ratesSchema = v.object({
  /** Millions of steps of integer arithmetic a second of CPU time. */
  integer: rate,
  /** Megabytes copied. */
  memory: rate,
  /** Ed25519 signatures made. */
  crypto: rate,
});

/** How often a core does each kind of work in a second of CPU time. */
export type SpeedRates = v.InferOutput<typeof ratesSchema>;

/** By definition the rates of a node of speed 1, chosen for small boards to be near it: what counts is how nodes compare. */
export const unitRates: SpeedRates = { integer: 125, memory: 2_000, crypto: 5_000 };

/** What is measured twice differs by a few percent; nodes of one kind are to have one speed, so it goes in steps of 9 %. */
const stepsPerDoubling = 8;

/** The speed of a node: the geometric mean of its rates beside those of speed 1, to two digits behind the point; 0.01 to 100. */
export function speedOf({ integer, memory, crypto }: SpeedRates): number {
  const ratios = [integer / unitRates.integer, memory / unitRates.memory, crypto / unitRates.crypto];
  const doublings = ratios.reduce((sum, ratio) => sum + Math.log2(ratio), 0) / ratios.length;
  const stepped = 2 ** (Math.round(doublings * stepsPerDoubling) / stepsPerDoubling);
  return Number(Math.min(100, Math.max(0.01, stepped)).toFixed(2));
}

const meter = fileURLToPath(new URL('./speed-meter.js', import.meta.url));
const bounds = { maxBytes: 1_024, maxDepth: 2 };

/** Measures this node for about a second of one core, in a process that is gone again after; rejects when that fails or is late. */
export async function measureRates(clock: Clock, signal: AbortSignal, timeoutMs = 60_000): Promise<SpeedRates> {
  const late = new AbortController();
  const cancel = clock.after(timeoutMs, () => late.abort());
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [meter], {
      signal: AbortSignal.any([late.signal, signal]),
    });
    return decodeJson(ratesSchema, stdout, 'speed meter', bounds);
  } finally {
    cancel();
  }
}

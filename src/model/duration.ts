import * as v from 'valibot';
import { dayMs } from '../base/clock.ts';

/** A whole number between two others. */
export const count = (min: number, max: number) =>
  v.pipe(
    v.number(),
    v.integer(),
    v.minValue(min, `expected ${min} or more`),
    v.maxValue(max, `expected at most ${max}`),
  );

const durationPattern = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;
const durationPart = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/g;
const durationUnitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `250ms`, `1.5s`, `10m`, `1h30m`, `7d`; comes out in whole milliseconds, at most ten years. */
export const durationSchema = v.pipe(
  v.string(),
  v.maxLength(64),
  v.regex(durationPattern, 'expected a duration as 250ms, 1.5s, 10m, 1h30m or 7d'),
  v.transform(text => {
    let ms = 0;
    for (const [, digits, unit = 'ms'] of text.matchAll(durationPart))
      ms += Number(digits) * (durationUnitMs[unit] ?? 1);
    return Math.round(ms);
  }),
  v.maxValue(3650 * dayMs, 'expected at most 3650d'),
);

import * as v from 'valibot';
import { minuteMs } from '../base/clock.ts';
import { durationSchema } from './duration.ts';
import { selectorSchema } from './selector.ts';

// A kind of our own, since Istio has none: Envoy's local rate limit, whose bucket has its three fields.

const tokens = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000_000));
/** Envoy's shortest. */
const minFillMs = 50;

export const rateLimitSpecSchema = v.pipe(
  v.strictObject({
    selector: selectorSchema,
    tokenBucket: v.strictObject({
      maxTokens: tokens,
      tokensPerFill: v.optional(tokens, 1),
      fillInterval: v.pipe(
        durationSchema,
        v.minValue(minFillMs, 'expected at least 50ms'),
        v.maxValue(24 * 60 * minuteMs, 'expected at most 24h'),
      ),
    }),
    /** What has a bucket of its own: each task, or in each task each caller, path or value of `header`. */
    per: v.optional(v.picklist(['workload', 'principal', 'path', 'header']), 'workload'),
    header: v.optional(
      v.pipe(v.string(), v.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/, 'expected the name of a header')),
    ),
    /** `false`: a shadow, which counts what it would refuse. */
    enforce: v.optional(v.boolean(), true),
  }),
  v.check(
    ({ per, header }) => (per === 'header') === (header !== undefined),
    'per: header goes with header: <name>, and nothing else does',
  ),
);

export type RateLimitSpec = v.InferOutput<typeof rateLimitSpecSchema>;

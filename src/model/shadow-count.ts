import * as v from 'valibot';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** What a policy that decides nothing would have done, since it came or its node started. */
export const shadowCountSchema = v.object({
  kind: v.picklist(['AuthorizationPolicy', 'RateLimit']),
  /** `<namespace>/<name>` */
  policy: v.pipe(v.string(), v.maxLength(127)),
  /** Requests and TCP connections to workloads that it selects. */
  calls: count,
  /** Of these: what was denied and it would have allowed; what was allowed and it would have denied, or limited. */
  allowed: count,
  denied: count,
  /** Of these: what an AUDIT policy matched. */
  audited: count,
});

export type ShadowCount = v.InferOutput<typeof shadowCountSchema>;

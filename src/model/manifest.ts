import * as v from 'valibot';

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));

/** Body of `all/manifest`: the newest revision of each signed document that everyone may read. */
export const manifestSchema = v.object({
  epoch: whole,
  /** Milliseconds since 1970: the master's authenticated time. */
  time: whole,
  policy: whole,
  services: v.record(text(128), whole),
  /** Upper-case hexadecimal serial numbers. */
  revoked: v.pipe(v.array(text(64)), v.maxLength(100_000)),
  /** PEM certificates: trusted roots, and keys that sign configuration. */
  roots: v.pipe(v.array(text(8192)), v.minLength(1), v.maxLength(8)),
  signers: v.pipe(v.array(text(8192)), v.minLength(1), v.maxLength(8)),
  /** PEM certificates of authorities below the roots, which a peer may leave out: they help to find a chain and are trusted for nothing. */
  issuers: v.optional(v.pipe(v.array(text(8192)), v.maxLength(8)), []),
  /** Where nodes reach the HTTP API, for artifacts. */
  api: v.optional(
    v.pipe(
      v.array(v.object({ host: text(253), port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)) })),
      v.maxLength(16),
    ),
  ),
});

export type Manifest = v.InferOutput<typeof manifestSchema>;

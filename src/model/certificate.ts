import * as v from 'valibot';

/** What a certificate is for: `config` signs configuration, `issuing` and `root` are authorities. */
export const certificateKinds = ['node', 'workload', 'master', 'broker', 'config', 'issuing', 'root'] as const;
export type CertificateKind = (typeof certificateKinds)[number];

/** `expiring`: in the last quarter of its life, and nothing has come in its place; `replaced`: something has, also where it still holds. */
export const certificateStates = ['valid', 'expiring', 'replaced', 'expired', 'revoked'] as const;
export type CertificateState = (typeof certificateStates)[number];

/** A certificate as the API shows it; times in milliseconds since 1970. */
export const certificateViewSchema = v.object({
  /** Upper-case hexadecimal. */
  serial: v.string(),
  kind: v.picklist(certificateKinds),
  state: v.picklist(certificateStates),
  spiffeId: v.string(),
  /** Whom it was given to; null for what is the master's. */
  node: v.nullable(v.string()),
  /** The serial number of its issuer. */
  issuer: v.string(),
  notBefore: v.number(),
  notAfter: v.number(),
  issuedAt: v.number(),
  revokedAt: v.nullable(v.number()),
});

export const certificateListSchema = v.object({ certificates: v.array(certificateViewSchema) });

const briefSchema = v.object({ serial: v.string(), notAfter: v.number() });

/** GET /v1/authority */
export const authorityViewSchema = v.object({
  trustDomain: v.string(),
  /** Oldest first. */
  generations: v.array(
    v.object({
      /** `announced`: trusted, and waits to issue; `old`: issues no more, and what it issued holds. */
      state: v.picklist(['announced', 'issuing', 'old']),
      /** Is its signer the one that signs configuration? */
      signing: v.boolean(),
      root: v.object({ ...briefSchema.entries, sha256: v.string() }),
      issuing: briefSchema,
      config: briefSchema,
    }),
  ),
  /** Nodes that have not acknowledged a new root which waits for them. */
  waitingFor: v.array(v.string()),
  /** Nodes that use certificates by an authority which issues no more; those that are ready have been asked to renew them. */
  renewing: v.array(v.string()),
});

const pem = v.pipe(v.string(), v.maxLength(8192));

/** POST /v1/authority/rotate: `root` also takes one of the user's, its key not encrypted. */
export const rotateRequestSchema = v.variant('what', [
  v.strictObject({ what: v.literal('issuing') }),
  v.strictObject({
    what: v.literal('root'),
    force: v.optional(v.boolean(), false),
    root: v.optional(v.strictObject({ rootPem: pem, rootKeyPem: pem })),
  }),
]);

/** POST /v1/authority/retire */
export const retireRequestSchema = v.strictObject({ force: v.optional(v.boolean(), false) });

export const serialSchema = v.pipe(v.string(), v.regex(/^[0-9A-F]{2,64}$/, 'expected a serial number in hexadecimal'));

export type CertificateView = v.InferOutput<typeof certificateViewSchema>;
export type AuthorityView = v.InferOutput<typeof authorityViewSchema>;
export type RotateRequest = v.InferOutput<typeof rotateRequestSchema>;

import * as v from 'valibot';
import { nameSchema } from './ids.ts';

export const secretBounds = { valueBytes: 16 * 1024, ofJob: 16, stored: 1_000 } as const;

const variable = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'expected the name of an environment variable'),
);
const fileName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,63}$/, 'expected a file name without folders'),
);

/** In a job: a secret of its namespace, and where its tasks find it. */
const jobSecretSchema = v.pipe(
  v.strictObject({ name: nameSchema, env: v.optional(variable), file: v.optional(fileName) }),
  v.check(({ env, file }) => (env === undefined) !== (file === undefined), 'expected env or file, and not both'),
);

export const jobSecretsSchema = v.pipe(
  v.array(jobSecretSchema),
  v.maxLength(secretBounds.ofJob, `expected at most ${secretBounds.ofJob}`),
  v.check(all => isDistinct(all.flatMap(({ env }) => env ?? [])), 'two go to the same variable'),
  v.check(all => isDistinct(all.flatMap(({ file }) => file ?? [])), 'two go to the same file'),
);

/** In a task as its node gets it: sealed to that node's key, for this task and name alone. */
export const sealedSecretsSchema = v.pipe(
  v.array(
    v.strictObject({
      name: nameSchema,
      version: v.number(),
      env: v.optional(variable),
      file: v.optional(fileName),
      sealed: v.pipe(v.string(), v.maxLength(32_768)),
    }),
  ),
  v.maxLength(secretBounds.ofJob),
);

/** In a birth, see `OfferedSealKey`. */
export const sealKeySchema = v.object({
  key: v.pipe(v.string(), v.maxLength(64)),
  chain: v.pipe(v.string(), v.maxLength(32_768)),
  signature: v.pipe(v.string(), v.maxLength(128)),
});

/** PUT /v1/secrets/:namespace/:name; messages never repeat what came. */
export const putSecretRequestSchema = v.strictObject({
  /** In base64. */
  value: v.pipe(
    v.string('the value is not a text in base64'),
    v.check(text => /^[A-Za-z0-9+/]*={0,2}$/.test(text), 'the value is not in base64'),
    v.transform(text => Buffer.from(text, 'base64')),
    v.check(
      ({ length }) => length > 0 && length <= secretBounds.valueBytes,
      `the value has to have 1 to ${secretBounds.valueBytes} bytes`,
    ),
  ),
});

/** What is shown of a secret: never its value. */
export const secretViewSchema = v.object({
  namespace: v.string(),
  name: v.string(),
  version: v.number(),
  /** Milliseconds since 1970. */
  updatedAt: v.number(),
  /** Jobs that name it. */
  usedBy: v.array(v.string()),
});

export const putSecretResultSchema = v.object({
  version: v.number(),
  result: v.picklist(['created', 'changed', 'unchanged']),
});
export const secretListSchema = v.object({ secrets: v.array(secretViewSchema) });

export type JobSecret = v.InferOutput<typeof jobSecretSchema>;
export type SealedSecret = v.InferOutput<typeof sealedSecretsSchema>[number];
export type SecretView = v.InferOutput<typeof secretViewSchema>;
export type PutSecretResult = v.InferOutput<typeof putSecretResultSchema>;

/** What a secret is sealed for besides the node. */
export function sealContext(
  task: string,
  { name, version }: { readonly name: string; readonly version: number },
): string {
  return `${task}\n${name}\n${version}`;
}

/** The attribute of a node that can keep secrets in memory. */
export const secretsAttribute = 'mesolite/secrets';

function isDistinct(names: readonly string[]): boolean {
  return new Set(names).size === names.length;
}

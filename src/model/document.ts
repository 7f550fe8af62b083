import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { decode } from '../base/shape.ts';
import { nameSchema } from './ids.ts';
import { jobSpecSchema } from './job.ts';
import { authorizationPolicySpecSchema } from './policy.ts';

const word = v.pipe(v.string(), v.maxLength(253));

/** As Kubernetes writes it; the namespace is `default` when none is given. */
export const metadataSchema = v.strictObject({
  name: nameSchema,
  namespace: v.optional(nameSchema, 'default'),
  labels: v.optional(v.record(word, word), {}),
  annotations: v.optional(v.record(word, v.pipe(v.string(), v.maxLength(4096))), {}),
});

export type Metadata = v.InferOutput<typeof metadataSchema>;

const jobSchema = v.strictObject({
  apiVersion: v.literal('mesolite/v1'),
  kind: v.literal('Job'),
  metadata: metadataSchema,
  spec: jobSpecSchema,
});

const authorizationPolicySchema = v.strictObject({
  apiVersion: v.picklist(['security.istio.io/v1', 'security.istio.io/v1beta1']),
  kind: v.literal('AuthorizationPolicy'),
  metadata: metadataSchema,
  spec: v.optional(authorizationPolicySpecSchema, {}),
});

export type Job = v.InferOutput<typeof jobSchema>;
export type AuthorizationPolicy = v.InferOutput<typeof authorizationPolicySchema>;

/** What an operator sends with `apply -f`. */
export type OperatorDocument = Job | AuthorizationPolicy;

/** Every kind that can be applied, with its schema; the API's OpenAPI document is made from it. */
export const documentSchemas = {
  Job: jobSchema,
  AuthorizationPolicy: authorizationPolicySchema,
} as const;

export type DocumentKind = keyof typeof documentSchemas;

/** Istio kinds that are refused, each with the nearest thing that works. */
const refusedKinds: Readonly<Record<string, string>> = {
  Gateway: 'publish the port of a job instead',
  Sidecar: 'list the upstreams of a job instead',
  EnvoyFilter: 'there is no Envoy here to patch',
};

const headSchema = v.looseObject({ kind: v.string() });

/** Reads one operator document; throws INVALID_INPUT with the path of what is wrong. */
export function decodeDocument(input: unknown, what: string): OperatorDocument {
  const { kind } = decode(headSchema, input, what);
  if (!isDocumentKind(kind)) {
    const advice = refusedKinds[kind] ?? `expected one of ${Object.keys(documentSchemas).join(', ')}`;
    throw new MesoliteError('INVALID_INPUT', `${what}: kind: ${kind} is not supported: ${advice}`);
  }
  return kind === 'Job' ? decode(jobSchema, input, what) : decode(authorizationPolicySchema, input, what);
}

function isDocumentKind(kind: string): kind is DocumentKind {
  return Object.hasOwn(documentSchemas, kind);
}

/** `Job default/hello`: how a document is called in messages. */
export function describeDocument(document: OperatorDocument): string {
  return `${document.kind} ${document.metadata.namespace}/${document.metadata.name}`;
}

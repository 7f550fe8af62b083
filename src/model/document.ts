import * as v from 'valibot';
import { MesoliteError } from '../base/errors.ts';
import { nearest } from '../base/nearest.ts';
import { decode, unsupported } from '../base/shape.ts';
import { agentVersionSpecSchema } from './agent-version.ts';
import { destinationRuleSpecSchema } from './destination-rule.ts';
import { nameSchema } from './ids.ts';
import { jobSpecSchema } from './job.ts';
import { peerAuthenticationSpecSchema } from './peer-authentication.ts';
import { authorizationPolicySpecSchema } from './policy.ts';
import { profileSpecSchema } from './profile.ts';
import { rateLimitSpecSchema } from './rate-limit.ts';
import { requestAuthenticationSpecSchema } from './request-authentication.ts';
import { roleSpecSchema } from './role.ts';
import { rolloutSpecSchema } from './rollout.ts';
import { virtualServiceSpecSchema } from './virtual-service.ts';

const word = v.pipe(v.string(), v.maxLength(253));

const ofKubernetes = unsupported('it is what Kubernetes itself writes: leave it out');

/** As Kubernetes writes it; the namespace is `default` when none is given. */
export const metadataSchema = v.strictObject({
  name: nameSchema,
  namespace: v.optional(nameSchema, 'default'),
  labels: v.optional(v.pipe(v.record(word, word), v.maxEntries(64, 'expected at most 64 labels')), {}),
  annotations: v.optional(v.record(word, v.pipe(v.string(), v.maxLength(4096))), {}),
  creationTimestamp: ofKubernetes,
  finalizers: ofKubernetes,
  generateName: unsupported('write name'),
  generation: ofKubernetes,
  managedFields: ofKubernetes,
  ownerReferences: ofKubernetes,
  resourceVersion: ofKubernetes,
  selfLink: ofKubernetes,
  uid: ofKubernetes,
});

export type Metadata = v.InferOutput<typeof metadataSchema>;

function documentSchema<const Kind extends string, const Versions extends string[], Spec extends v.GenericSchema>(
  kind: Kind,
  apiVersions: Versions,
  spec: Spec,
) {
  return v.strictObject({
    apiVersion: v.picklist(apiVersions, `expected ${apiVersions.join(' or ')}`),
    kind: v.literal(kind),
    metadata: metadataSchema,
    spec,
    status: ofKubernetes,
  });
}

const ownVersions = ['mesolite/v1'] as const;
const networkingVersions = [
  'networking.istio.io/v1',
  'networking.istio.io/v1beta1',
  'networking.istio.io/v1alpha3',
] as const;
const securityVersions = ['security.istio.io/v1', 'security.istio.io/v1beta1'] as const;

const jobSchema = documentSchema('Job', [...ownVersions], jobSpecSchema);
const rolloutSchema = documentSchema('Rollout', [...ownVersions], rolloutSpecSchema);

const roleSchema = documentSchema('Role', [...ownVersions], v.optional(roleSpecSchema, {}));

/**
 * The kinds that reach every node in the one signed policy document, each with its schema. A kind is added here, with what is checked of it
 * (`master/policy-kinds.ts`) and what a node makes of it (`agent/policy.ts`).
 */
export const policySchemas = {
  AgentVersion: documentSchema('AgentVersion', [...ownVersions], agentVersionSpecSchema),
  AuthorizationPolicy: documentSchema(
    'AuthorizationPolicy',
    [...securityVersions],
    v.optional(authorizationPolicySpecSchema, {}),
  ),
  DestinationRule: documentSchema('DestinationRule', [...networkingVersions], destinationRuleSpecSchema),
  PeerAuthentication: documentSchema(
    'PeerAuthentication',
    [...securityVersions],
    v.optional(peerAuthenticationSpecSchema, {}),
  ),
  Profile: documentSchema('Profile', [...ownVersions], profileSpecSchema),
  RateLimit: documentSchema('RateLimit', [...ownVersions], rateLimitSpecSchema),
  RequestAuthentication: documentSchema(
    'RequestAuthentication',
    [...securityVersions],
    v.optional(requestAuthenticationSpecSchema, {}),
  ),
  VirtualService: documentSchema('VirtualService', [...networkingVersions], virtualServiceSpecSchema),
} as const;

/** Every kind that can be applied, with its schema. */
export const documentSchemas = { Job: jobSchema, Role: roleSchema, Rollout: rolloutSchema, ...policySchemas } as const;

export type DocumentKind = keyof typeof documentSchemas;
export type PolicyKind = keyof typeof policySchemas;
/** The documents of one kind. */
export type PolicyOf<Kind extends PolicyKind> = v.InferOutput<(typeof policySchemas)[Kind]>;

export type Job = v.InferOutput<typeof jobSchema>;
export type RoleDocument = v.InferOutput<typeof roleSchema>;
/** How pushes of policies go; it stays with the master. */
export type Rollout = v.InferOutput<typeof rolloutSchema>;
export type AuthorizationPolicy = PolicyOf<'AuthorizationPolicy'>;
export type DestinationRule = PolicyOf<'DestinationRule'>;
export type PolicyDocument = PolicyOf<PolicyKind>;

/** What an operator sends with `apply -f`. */
export type OperatorDocument = Job | RoleDocument | Rollout | PolicyDocument;

export const policyKinds: readonly string[] = Object.keys(policySchemas);

/** Does it reach the nodes in the signed policy document? */
export function isPolicyDocument(document: OperatorDocument): document is PolicyDocument {
  return Object.hasOwn(policySchemas, document.kind);
}

/** Kinds of others that are refused, each with the nearest thing that works. */
const refusedKinds: Readonly<Record<string, string>> = {
  Gateway: 'publish the port of a job instead',
  Ingress: 'publish the port of a job instead',
  HTTPRoute: 'write a VirtualService',
  GRPCRoute: 'write a VirtualService',
  TCPRoute: 'a TCP service is called at its own port, by the upstreams of a job',
  TLSRoute: 'a TCP service is called at its own port, by the upstreams of a job',
  Sidecar: 'list the upstreams of a job instead',
  EnvoyFilter: 'there is no Envoy here to patch; limits of requests are a RateLimit',
  WasmPlugin: 'there is no Envoy here to extend',
  ProxyConfig: 'the proxy is part of the agent, whose bounds are in its firmware profile',
  ServiceEntry: 'services are those of jobs; what is outside is called without the proxy',
  WorkloadEntry: 'let the machine join with an agent, and run a job there',
  WorkloadGroup: 'let the machines join with agents, and run a job there',
  Telemetry: 'every decision is recorded; a node serves metrics with --metrics, and writes a log with --access-log',
  Deployment: 'write a Job of type service',
  StatefulSet: 'write a Job of type service',
  DaemonSet: 'write a Job of type system',
  Pod: 'write a Job',
  CronJob: 'write a Job of type periodic',
  Service: 'write spec.service in the Job',
  ServiceAccount: 'write spec.serviceAccount in the Job: it need not be made first',
  Namespace: 'write metadata.namespace: it need not be made first',
  ConfigMap: 'write spec.env in the Job',
  Secret: 'write spec.env in the Job',
  NetworkPolicy: 'write an AuthorizationPolicy, with ipBlocks where addresses decide',
  List: 'separate the documents with ---',
};

const headSchema = v.looseObject({ kind: v.string() });

/** Reads one operator document; throws INVALID_INPUT with the path of what is wrong. */
export function decodeDocument(input: unknown, what: string): OperatorDocument {
  const { kind } = decode(headSchema, input, what);
  if (!isDocumentKind(kind)) {
    const kinds = Object.keys(documentSchemas);
    const meant = nearest(kind, kinds);
    const guess = meant === undefined ? `expected one of ${kinds.join(', ')}` : `did you mean ${meant}?`;
    const advice = Object.hasOwn(refusedKinds, kind) ? refusedKinds[kind] : guess;
    throw new MesoliteError('INVALID_INPUT', `${what}: kind: ${kind} is not supported: ${advice}`);
  }
  return decode(documentSchemas[kind], input, what);
}

function isDocumentKind(kind: string): kind is DocumentKind {
  return Object.hasOwn(documentSchemas, kind);
}

/** What is wrong with a document beyond its shape, each a sentence that starts with the path in it. */
export interface Findings {
  /** It cannot be taken. */
  readonly errors: readonly string[];
  /** It is legal, and hardly means what its author thinks. */
  readonly warnings: readonly string[];
}

/** The labels of a job's tasks, which policies select by. */
export function labelsOf({ metadata }: Job): Readonly<Record<string, string>> {
  return { app: metadata.name, ...metadata.labels };
}

/** `Job default/hello`: how a document is called in messages. */
export function describeDocument(document: OperatorDocument): string {
  return `${document.kind} ${document.metadata.namespace}/${document.metadata.name}`;
}

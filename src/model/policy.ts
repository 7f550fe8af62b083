import * as v from 'valibot';
import { unsupported } from '../base/shape.ts';
import { selectorSchema, targetAdvice } from './selector.ts';

// Shapes of Istio's security.istio.io/v1 (istio/api security/v1beta1/authorization_policy.proto). The meaning is in policy/.

const word = v.pipe(v.string(), v.minLength(1, 'expected a text that is not empty'), v.maxLength(2048));
const words = v.optional(v.pipe(v.array(word), v.maxLength(512)));
const serviceAccounts = v.optional(v.pipe(v.array(word), v.maxLength(16)));

const sourceSchema = v.strictObject({
  principals: words,
  notPrincipals: words,
  requestPrincipals: words,
  notRequestPrincipals: words,
  namespaces: words,
  notNamespaces: words,
  serviceAccounts,
  notServiceAccounts: serviceAccounts,
  trustDomains: words,
  notTrustDomains: words,
  ipBlocks: words,
  notIpBlocks: words,
  remoteIpBlocks: words,
  notRemoteIpBlocks: words,
});

const operationSchema = v.strictObject({
  hosts: words,
  notHosts: words,
  ports: words,
  notPorts: words,
  methods: words,
  notMethods: words,
  paths: words,
  notPaths: words,
});

const conditionSchema = v.pipe(
  v.strictObject({ key: word, values: words, notValues: words }),
  v.check(
    when => (when.values?.length ?? 0) + (when.notValues?.length ?? 0) > 0,
    'expected at least one of values and notValues',
  ),
);

const ruleSchema = v.strictObject({
  from: v.optional(v.pipe(v.array(v.strictObject({ source: sourceSchema })), v.maxLength(512))),
  to: v.optional(v.pipe(v.array(v.strictObject({ operation: operationSchema })), v.maxLength(512))),
  when: v.optional(v.pipe(v.array(conditionSchema), v.maxLength(512))),
});

export const authorizationPolicySpecSchema = v.strictObject({
  selector: selectorSchema,
  targetRefs: targetAdvice,
  targetRef: targetAdvice,
  provider: unsupported('there is no external authorizer; write the rules as ALLOW or DENY'),
  action: v.optional(
    v.picklist(['ALLOW', 'DENY', 'AUDIT'], issue =>
      issue.received === '"CUSTOM"'
        ? 'CUSTOM is not supported: there is no external authorizer; write the rule as ALLOW or DENY'
        : `expected ALLOW, DENY or AUDIT, got ${issue.received}`,
    ),
    'ALLOW',
  ),
  rules: v.optional(v.pipe(v.array(ruleSchema), v.maxLength(512))),
});

export type AuthorizationPolicySpec = v.InferOutput<typeof authorizationPolicySpecSchema>;
export type Rule = v.InferOutput<typeof ruleSchema>;
export type Source = v.InferOutput<typeof sourceSchema>;
export type Operation = v.InferOutput<typeof operationSchema>;
export type Condition = v.InferOutput<typeof conditionSchema>;

/** What is decided when no policy speaks of a workload: Istio's default is `allow`. */
export type MeshDefault = 'allow' | 'deny';

/**
 * How a request path is brought to one form before a policy looks at it, as Istio's `meshConfig.pathNormalization` names it:
 * `BASE` resolves dot segments (RFC 3986 5.2.4), decodes what needs no encoding (`%2e`, `%41`) and turns `\` to `/`;
 * `MERGE_SLASHES` then makes one of several `/`; `DECODE_AND_MERGE_SLASHES` decodes `%2f` and `%5c` before all that.
 */
export const pathNormalizations = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const;
export type PathNormalization = (typeof pathNormalizations)[number];

/** The mesh as a master makes it that was told nothing else. */
export const defaultMesh = {
  trustDomain: 'mesolite.local',
  rootNamespace: 'istio-system',
  meshDefault: 'allow',
  pathNormalization: 'BASE',
} as const;

/** Everything that is known of a request when it is authorized; absent means: the attribute does not exist. */
export interface AuthorizationRequest {
  readonly protocol: 'http' | 'tcp';
  /** `<trust domain>/ns/<namespace>/sa/<service account>` of the verified peer; absent for a plaintext caller. */
  readonly principal?: string | undefined;
  /** The direct peer's address, without zone or port. */
  readonly sourceIp: string;
  /** The client's address after trusted forwarding headers. */
  readonly remoteIp?: string | undefined;
  readonly destinationIp: string;
  readonly destinationPort: number;
  readonly serverName?: string | undefined;
  readonly method?: string | undefined;
  /** `:authority` or Host, as it came. */
  readonly host?: string | undefined;
  /** The request target's path as it came, with its query; the engine normalises it. */
  readonly path?: string | undefined;
  /** The value of a header (lower-case name; several joined by a comma), or undefined. */
  readonly header?: ((name: string) => string | undefined) | undefined;
  /** Claims of a verified token. */
  readonly claims?: Readonly<Record<string, unknown>> | undefined;
}

/** The answer to a request: `policy` is `<namespace>/<name>` and `rule` its index, absent when no policy spoke. */
export interface Verdict {
  readonly allow: boolean;
  readonly reason:
    | 'policy-allow'
    | 'policy-deny'
    | 'policy-audit'
    | 'no-allow-matched'
    | 'no-policy'
    | 'mesh-default'
    | 'bad-path';
  readonly policy?: string | undefined;
  readonly rule?: number | undefined;
}

/** What the policies that decide nothing, in dry run or of AUDIT, said of a request. */
export interface Shadow {
  /** The first AUDIT rule that matched, as `ruleText` has it. */
  readonly audited: string | undefined;
  /** What would have been decided with the policies in dry run in force, where that is something else. */
  readonly verdict: Verdict | undefined;
  /** What each of the workload's `watched` policies would have done, or did; by its place there. */
  readonly effects: readonly ShadowEffect[];
}

/** `none`: with the policy all would have been the same. */
export type ShadowEffect = 'none' | 'allow' | 'deny' | 'audit';

/** The rule that spoke as `<namespace>/<name>#<rule index>`, or the reason where none did. */
export function ruleText(verdict: Verdict): string {
  return verdict.policy === undefined ? verdict.reason : `${verdict.policy}#${verdict.rule ?? 0}`;
}

/** Who is asked: the workload whose inbound proxy decides. */
export interface WorkloadIdentity {
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
}

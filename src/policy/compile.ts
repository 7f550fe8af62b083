import { MesoliteError } from '../base/errors.ts';
import { type AuthorizationPolicy, describeDocument } from '../model/document.ts';
import type { MeshDefault, PathNormalization, Verdict, WorkloadIdentity } from '../model/policy.ts';
import { selects } from '../model/selector.ts';
import type { Reading } from './attributes.ts';
import { findErrors, isInDryRun } from './check.ts';
import { compileRule } from './compile-rule.ts';
import { readRule } from './fields.ts';
import { type CompiledRule, makeRuleIndex, type RuleIndex } from './rule-index.ts';

export interface PolicyInput {
  readonly trustDomain: string;
  /** Policies in this namespace hold in all. */
  readonly rootNamespace: string;
  readonly meshDefault: MeshDefault;
  /** Of the signed document that holds the policies. */
  readonly revision: number;
  /** Istio's default is `BASE`. */
  readonly pathNormalization?: PathNormalization;
  readonly policies: readonly AuthorizationPolicy[];
}

/** One revision of all policies, ready to be asked: a value that is swapped whole. */
export interface CompiledPolicy {
  readonly revision: number;
  readonly pathNormalization: PathNormalization;
  /** The ids of all policies that are asked and decide nothing, whatever they select. */
  readonly watched: ReadonlySet<string>;
  /** The policies that select a workload; the same object for the same namespace and labels. */
  forWorkload(workload: WorkloadIdentity): WorkloadPolicy;
}

/**
 * What one workload enforces; give it to `authorize`. A verdict depends on protocol, principal, method, normalised path, destination
 * port, and on what the `reads` fields tell: a cache of verdicts needs these in its key and must not outlive this object.
 */
export interface WorkloadPolicy {
  readonly revision: number;
  readonly pathNormalization: PathNormalization;
  /** Lower-case names, sorted. */
  readonly headersRead: readonly string[];
  readonly readsHost: boolean;
  readonly readsSourceIp: boolean;
  readonly readsRemoteIp: boolean;
  readonly readsDestinationIp: boolean;
  readonly readsServerName: boolean;
  readonly readsClaims: boolean;
  readonly http: ProtocolRules;
  readonly tcp: ProtocolRules;
  /** What would hold if the policies in dry run were enforced too; absent when there is none. */
  readonly dryRun?: WorkloadPolicy;
  /** Those of them, and the AUDIT policies: what they read is among what is told above. */
  readonly watched: readonly WatchedPolicy[];
}

/** A policy that is asked and decides nothing: one in dry run, or of AUDIT. */
export interface WatchedPolicy {
  /** `<namespace>/<name>` */
  readonly policy: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  /** The same after a push that did not change it. */
  readonly id: string;
  /** The rules of an AUDIT policy; those of one in dry run are asked by `dryRun`. */
  readonly audit?: Readonly<Record<'http' | 'tcp', RuleIndex>>;
}

export interface ProtocolRules {
  readonly deny: RuleIndex;
  readonly allow: RuleIndex;
  /** The verdict when neither matches. */
  readonly otherwise: Verdict;
}

/** At most so many sets of namespace and labels are kept; past that the one kept longest is compiled again when asked for. */
const maxWorkloads = 1024;

/** Compiles all policies at once; throws INVALID_INPUT that names document and path of everything that is wrong. */
export function compilePolicy(input: PolicyInput): CompiledPolicy {
  const problems = input.policies.flatMap(policy =>
    findErrors(policy).map(error => `${describeDocument(policy)}: ${error}`),
  );
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.slice(0, 5).join('; '));
  const pathNormalization = input.pathNormalization ?? 'BASE';
  // a policy of the fleet that selects no workload of this node costs it no memory
  const prepared = new Map<AuthorizationPolicy, PreparedPolicy>();
  const prepareOnce = (policy: AuthorizationPolicy) => {
    const ready = prepared.get(policy) ?? prepare(policy, input);
    prepared.set(policy, ready);
    return ready;
  };
  const kept = new Map<string, WorkloadPolicy>();
  return {
    revision: input.revision,
    pathNormalization,
    watched: new Set(input.policies.filter(isWatched).map(idOf)),
    forWorkload(workload) {
      const key = JSON.stringify([workload.namespace, Object.entries(workload.labels).sort(byName)]);
      const known = kept.get(key);
      if (known !== undefined) return known;
      const selecting = input.policies.filter(policy => selects(policy, workload, input.rootNamespace));
      const compiled = assemble(selecting.map(prepareOnce), input, pathNormalization);
      const [oldest] = kept.keys();
      if (kept.size >= maxWorkloads && oldest !== undefined) kept.delete(oldest);
      kept.set(key, compiled);
      return compiled;
    },
  };
}

interface PreparedPolicy {
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  /** Absent for one that is enforced. */
  readonly watched?: WatchedPolicy;
  readonly http: readonly CompiledRule[];
  readonly tcp: readonly CompiledRule[];
  readonly readings: readonly Reading[];
  readonly headers: readonly string[];
}

function prepare(policy: AuthorizationPolicy, { trustDomain }: PolicyInput): PreparedPolicy {
  const { metadata, spec } = policy;
  const { action } = spec;
  const name = `${metadata.namespace}/${metadata.name}`;
  const scope = { trustDomain, namespace: metadata.namespace, known: new Map() };
  const rules = (spec.rules ?? []).map((rule, i) => readRule(rule, `spec.rules[${i}]`));
  const compile = (protocol: 'http' | 'tcp') =>
    rules.flatMap((rule, i) => {
      const verdict: Verdict = {
        allow: action === 'ALLOW',
        reason: reasonOf[action],
        policy: name,
        rule: i,
      };
      return compileRule(rule, protocol, verdict, scope) ?? [];
    });
  const attributes = rules.flatMap(rule => rule.all.map(field => field.attribute));
  const [http, tcp] = [compile('http'), compile('tcp')];
  const audit = action === 'AUDIT' && { audit: { http: makeRuleIndex(http), tcp: makeRuleIndex(tcp) } };
  return {
    action,
    ...(isWatched(policy) && { watched: { policy: name, action, id: idOf(policy), ...audit } }),
    http,
    tcp,
    readings: attributes.flatMap(({ reading }) => reading ?? []),
    headers: attributes.flatMap(({ header }) => header ?? []),
  };
}

function assemble(
  policies: readonly PreparedPolicy[],
  input: PolicyInput,
  pathNormalization: PathNormalization,
): WorkloadPolicy {
  const enforced = policies.filter(({ watched }) => watched === undefined);
  const deciding = policies.filter(({ action }) => action !== 'AUDIT');
  const readings = new Set(policies.flatMap(policy => policy.readings));
  return {
    revision: input.revision,
    pathNormalization,
    headersRead: [...new Set(policies.flatMap(policy => policy.headers))].sort(),
    readsHost: readings.has('host'),
    readsSourceIp: readings.has('sourceIp'),
    readsRemoteIp: readings.has('remoteIp'),
    readsDestinationIp: readings.has('destinationIp'),
    readsServerName: readings.has('serverName'),
    readsClaims: readings.has('claims'),
    http: rulesOf(enforced, 'http', input.meshDefault),
    tcp: rulesOf(enforced, 'tcp', input.meshDefault),
    watched: policies.flatMap(({ watched }) => watched ?? []),
    ...(enforced.length < deciding.length && {
      dryRun: assemble(
        deciding.map(({ watched: _, ...policy }) => policy),
        input,
        pathNormalization,
      ),
    }),
  };
}

function rulesOf(
  policies: readonly PreparedPolicy[],
  protocol: 'http' | 'tcp',
  meshDefault: MeshDefault,
): ProtocolRules {
  const rules = (wanted: 'ALLOW' | 'DENY') =>
    makeRuleIndex(policies.filter(({ action }) => action === wanted).flatMap(policy => policy[protocol]));
  const hasAllow = policies.some(({ action }) => action === 'ALLOW');
  const otherwise = hasAllow ? noAllowMatched : byDefault[meshDefault];
  return { deny: rules('DENY'), allow: rules('ALLOW'), otherwise };
}

function isWatched(policy: AuthorizationPolicy): boolean {
  return policy.spec.action === 'AUDIT' || isInDryRun(policy);
}

/** Name and FNV-1a of what it says. */
function idOf({ metadata, spec }: AuthorizationPolicy): string {
  const text = JSON.stringify(spec);
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return `${metadata.namespace}/${metadata.name} ${hash}`;
}

const reasonOf = { ALLOW: 'policy-allow', DENY: 'policy-deny', AUDIT: 'policy-audit' } as const;

const noAllowMatched: Verdict = { allow: false, reason: 'no-allow-matched' };

/** Without an ALLOW policy the operator's choice for the mesh holds; Istio's is to allow. */
const byDefault: Readonly<Record<MeshDefault, Verdict>> = {
  allow: { allow: true, reason: 'no-policy' },
  deny: { allow: false, reason: 'mesh-default' },
};

function byName([a]: readonly [string, string], [b]: readonly [string, string]): number {
  return a < b ? -1 : 1;
}

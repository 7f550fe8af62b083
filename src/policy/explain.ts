import type { AuthorizationPolicy, PolicyOf } from '../model/document.ts';
import type { MtlsMode } from '../model/peer-authentication.ts';
import type { Question } from '../model/policy-case.ts';
import { selects } from '../model/selector.ts';
import { type CaseMesh, type CaseVerdict, requestOf, runCases, trustDomainFor } from './cases.ts';
import { isInDryRun } from './check.ts';
import { makeExaminer } from './examine.ts';
import { type ExplainedToken, explainToken } from './explain-token.ts';
import { Facts } from './facts.ts';
import { readRule } from './fields.ts';
import { normalizePath } from './normalize-path.ts';
import { compilePeerAuthentication } from './peer-authentication.ts';

/** One rule of a policy, and what it says of the call. */
export interface ExplainedRule {
  readonly rule: number;
  readonly matches: boolean;
  /** Why it does not match, in words. */
  readonly why: readonly string[];
}

/** One policy, and what it says of the call. */
export interface ExplainedPolicy {
  /** `<namespace>/<name>` */
  readonly policy: string;
  readonly action: 'ALLOW' | 'DENY' | 'AUDIT';
  /** It is in dry run: what it says is not enforced. */
  readonly dryRun: boolean;
  /** Why it has no say in this: it does not select the workload. Absent where it has. */
  readonly notFor?: string;
  readonly rules: readonly ExplainedRule[];
}

/** The mesh that a call is explained in. */
export interface ExplainedMesh extends CaseMesh {
  readonly requestAuthentications: readonly PolicyOf<'RequestAuthentication'>[];
}

/** The verdict on one call, and what led to it. */
export interface Explanation {
  readonly verdict: 'allow' | 'deny';
  /** `<namespace>/<name>#<rule index>`, or the reason where no rule decided. */
  readonly rule: string;
  /** The same as a sentence. */
  readonly because: string;
  /** How clients outside of the mesh are taken on this port of the workload. */
  readonly mtls: MtlsMode;
  /** In plain text: the caller shows no certificate. */
  readonly plaintext: boolean;
  readonly token: ExplainedToken;
  /** What the policies in dry run would make of it, where that is something else. */
  readonly dryRun?: CaseVerdict;
  readonly policies: readonly ExplainedPolicy[];
}

/** Decides as the proxy does, by the same engine, and tells of each policy what it had to say. */
export function explain(mesh: ExplainedMesh, asked: Question): Explanation {
  const token = explainToken(mesh.requestAuthentications, mesh.rootNamespace, asked);
  const question = { ...asked, request: { ...asked.request, claims: token.claims } };
  const [result] = runCases(mesh, [{ name: '', expect: 'allow', ...question }]);
  const { got, rule, dryRun } = result ?? { got: 'deny', rule: 'bad-path' };
  const { from, to } = question;
  const peers = compilePeerAuthentication(mesh.peerAuthentications, mesh.rootNamespace);
  const policies = mesh.policies.map(policy => explainPolicy(policy, mesh, question));
  const refused = rule === 'mtls-required' ? undefined : token.refused;
  return {
    ...(refused === undefined
      ? { verdict: got, rule, because: because(rule, got, policies), ...(dryRun && { dryRun }) }
      : { verdict: 'deny', ...refused }),
    mtls: peers.modeOf(to, to.port ?? 0),
    plaintext: from.principal === undefined,
    token,
    policies,
  };
}

function explainPolicy(policy: AuthorizationPolicy, mesh: CaseMesh, question: Question): ExplainedPolicy {
  const { metadata, spec } = policy;
  const isFor = selects(policy, question.to, mesh.rootNamespace);
  return {
    policy: `${metadata.namespace}/${metadata.name}`,
    action: spec.action,
    dryRun: isInDryRun(policy),
    ...(!isFor && { notFor: whyNotFor(policy, mesh, question) }),
    rules: isFor ? explainRules(policy, mesh, question) : [],
  };
}

function whyNotFor({ metadata, spec }: AuthorizationPolicy, { rootNamespace }: CaseMesh, { to }: Question): string {
  const { namespace } = metadata;
  if (namespace !== to.namespace && namespace !== rootNamespace) {
    return `it is for namespace ${namespace}, the workload is in ${to.namespace}`;
  }
  const wanted = Object.entries(spec.selector?.matchLabels ?? {});
  const [name, value] = wanted.find(([label, text]) => to.labels[label] !== text) ?? [];
  const has = name === undefined || to.labels[name] === undefined ? 'has no such label' : `has ${to.labels[name]}`;
  return `it selects ${name}=${value}, the workload ${has}`;
}

function explainRules({ metadata, spec }: AuthorizationPolicy, mesh: CaseMesh, question: Question): ExplainedRule[] {
  const request = requestOf(question);
  const { trustDomain = trustDomainFor(question), pathNormalization = 'BASE' } = mesh;
  const path = request.path === undefined ? undefined : normalizePath(request.path, pathNormalization);
  const facts = new Facts(request, path);
  return (spec.rules ?? []).map((rule, i) => {
    const { action } = spec;
    const scope = { trustDomain, namespace: metadata.namespace };
    const examine = makeExaminer(readRule(rule, ''), { action, protocol: request.protocol, scope });
    const { answer, reasons } = examine(facts, nothing);
    return { rule: i, matches: answer === 'yes', why: reasons };
  });
}

const nothing = () => false;

/** What a reason says to a person. */
const reasonTexts: Readonly<Record<string, string>> = {
  'mtls-required': 'a PeerAuthentication is STRICT here, and the caller shows no certificate',
  'bad-path': 'the path has no normal form, whatever the policies say: it is answered with 400',
  'no-policy': 'no ALLOW policy selects the workload, and the mesh allows what no policy speaks of',
  'mesh-default': 'no ALLOW policy selects the workload, and the mesh denies what no policy speaks of',
};

function because(rule: string, got: 'allow' | 'deny', policies: readonly ExplainedPolicy[]): string {
  if (rule === 'no-allow-matched') {
    const allowing = policies.filter(each => each.action === 'ALLOW' && !each.dryRun && each.notFor === undefined);
    const names = allowing.map(({ policy }) => policy).join(', ');
    return `ALLOW policies select the workload (${names}), and no rule of theirs matches`;
  }
  const known = reasonTexts[rule];
  if (known !== undefined) return known;
  const [policy, index] = rule.split('#');
  return `rule ${index} of the ${got === 'allow' ? 'ALLOW' : 'DENY'} policy ${policy} matches`;
}

import { type AuthorizationPolicy, describeDocument, type PolicyOf } from '../model/document.ts';
import type { MeshDefault } from '../model/policy.ts';
import { type Selectable, selects } from '../model/selector.ts';
import { isInDryRun } from './check.ts';
import { type Answer, type Examiner, makeExaminer } from './examine.ts';
import { Facts } from './facts.ts';
import { type Field, readRule } from './fields.ts';
import { compilePeerAuthentication } from './peer-authentication.ts';

/** What a record of a call tells of it; the path as policies saw it. */
export interface RecordedCall {
  readonly protocol: 'http' | 'tcp';
  /** Absent for a caller without a certificate. */
  readonly principal?: string | undefined;
  readonly sourceIp: string;
  readonly method?: string | undefined;
  readonly host?: string | undefined;
  readonly path?: string | undefined;
}

/** `unknown`: it hangs on what a record does not tell. */
export interface Replayed {
  readonly verdict: 'allow' | 'deny' | 'unknown';
  /** As `ruleText` has it; empty where it is unknown. */
  readonly rule: string;
  /** What is not told, as `default/p#0: request.headers[x-role]`. */
  readonly open: readonly string[];
}

/** A set of policies to be asked about calls of which only records are left. */
export interface Replay {
  ask(called: Selectable, call: RecordedCall): Replayed;
}

interface Prepared {
  readonly policy: AuthorizationPolicy;
  readonly examiners: Readonly<Record<'http' | 'tcp', readonly Examiner[]>>;
}

/** Never wrong: where headers, tokens, server names or ports could make a difference, the answer is `unknown`. */
export function makeReplay(mesh: {
  readonly policies: readonly AuthorizationPolicy[];
  readonly peerAuthentications: readonly PolicyOf<'PeerAuthentication'>[];
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly meshDefault: MeshDefault;
}): Replay {
  const { rootNamespace, trustDomain, meshDefault } = mesh;
  const inForce = mesh.policies.filter(policy => policy.spec.action !== 'AUDIT' && !isInDryRun(policy));
  const prepared = inForce.map(policy => prepare(policy, trustDomain));
  const peers = compilePeerAuthentication(mesh.peerAuthentications, rootNamespace);
  return {
    ask(called, call) {
      if (call.principal === undefined) {
        const byPort = mesh.peerAuthentications.find(
          each => each.spec.portLevelMtls !== undefined && selects(each, called, rootNamespace),
        );
        if (byPort !== undefined)
          return { verdict: 'unknown', rule: '', open: [`${describeDocument(byPort)}: its ports`] };
        if (peers.modeOf(called, 0) === 'STRICT') return { verdict: 'deny', rule: 'mtls-required', open: [] };
      }
      const selecting = prepared.filter(({ policy }) => selects(policy, called, rootNamespace));
      const facts = factsOf(call);
      const denying = first(selecting, 'DENY', call.protocol, facts);
      if (denying.answer === 'yes') return { verdict: 'deny', rule: denying.rule, open: [] };
      const allowed = allowance(selecting, call.protocol, facts, meshDefault);
      if (denying.answer === 'no' || allowed.verdict === 'deny') return allowed;
      return { verdict: 'unknown', rule: '', open: [...denying.open, ...allowed.open] };
    },
  };
}

function prepare(policy: AuthorizationPolicy, trustDomain: string): Prepared {
  const { spec, metadata } = policy;
  const scope = { trustDomain, namespace: metadata.namespace };
  const examine = (protocol: 'http' | 'tcp') =>
    (spec.rules ?? []).map(rule => makeExaminer(readRule(rule, ''), { action: spec.action, protocol, scope }));
  return { policy, examiners: { http: examine('http'), tcp: examine('tcp') } };
}

function factsOf(call: RecordedCall): Facts {
  const request = { ...call, remoteIp: call.sourceIp, destinationIp: '', destinationPort: 0 };
  return new Facts(request, call.protocol === 'http' ? call.path : undefined);
}

/** What is decided where no DENY rule matches. */
function allowance(
  selecting: readonly Prepared[],
  protocol: 'http' | 'tcp',
  facts: Facts,
  meshDefault: MeshDefault,
): Replayed {
  if (!selecting.some(({ policy }) => policy.spec.action === 'ALLOW')) {
    return meshDefault === 'allow'
      ? { verdict: 'allow', rule: 'no-policy', open: [] }
      : { verdict: 'deny', rule: 'mesh-default', open: [] };
  }
  const { answer, rule, open } = first(selecting, 'ALLOW', protocol, facts);
  if (answer === 'yes') return { verdict: 'allow', rule, open: [] };
  return answer === 'no'
    ? { verdict: 'deny', rule: 'no-allow-matched', open: [] }
    : { verdict: 'unknown', rule: '', open };
}

interface Found {
  readonly answer: Answer;
  /** The first that matches for certain. */
  readonly rule: string;
  readonly open: readonly string[];
}

function first(selecting: readonly Prepared[], action: string, protocol: 'http' | 'tcp', facts: Facts): Found {
  const open: string[] = [];
  for (const { policy, examiners } of selecting) {
    if (policy.spec.action !== action) continue;
    for (const [i, examine] of examiners[protocol].entries()) {
      const { answer, reasons } = examine(facts, isUnknown);
      const rule = `${policy.metadata.namespace}/${policy.metadata.name}#${i}`;
      if (answer === 'yes') return { answer, rule, open: [] };
      if (answer === 'unknown') open.push(...reasons.map(reason => `${rule}: ${reason.replace(/: not known$/, '')}`));
    }
  }
  return { answer: open.length === 0 ? 'no' : 'unknown', rule: '', open };
}

/** What no record has. */
function isUnknown({ key, attribute }: Field): boolean {
  if (attribute.header !== undefined || attribute.reading === 'claims') return true;
  return key === 'connection.sni' || key === 'destination.ip' || key === 'destination.port';
}

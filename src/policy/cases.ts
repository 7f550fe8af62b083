import type { PolicyOf } from '../model/document.ts';
import { type AuthorizationRequest, defaultMesh, ruleText, type Verdict } from '../model/policy.ts';
import type { PolicyCase, Question } from '../model/policy-case.ts';
import { authorize } from './authorize.ts';
import { type CompiledPolicy, compilePolicy, type PolicyInput } from './compile.ts';
import { compilePeerAuthentication } from './peer-authentication.ts';

/** The mesh that the cases are asked in. */
export interface CaseMesh extends Omit<PolicyInput, 'trustDomain' | 'revision'> {
  readonly peerAuthentications: readonly PolicyOf<'PeerAuthentication'>[];
  /** Where left out: by `trustDomainFor` the caller. */
  readonly trustDomain?: string;
}

export interface CaseVerdict {
  readonly got: 'allow' | 'deny';
  /** `<namespace>/<policy>#<rule index>`, or the reason where no policy spoke; `mtls-required` of a STRICT PeerAuthentication. */
  readonly rule: string;
}

export interface CaseResult extends CaseVerdict {
  readonly name: string;
  readonly expect: 'allow' | 'deny';
  /** What the policies in dry run would change, where they would. */
  readonly dryRun?: CaseVerdict;
}

/** Asks the policies about each case; throws INVALID_INPUT as `compilePolicy` does. */
export function runCases(mesh: CaseMesh, cases: readonly PolicyCase[]): CaseResult[] {
  const byTrustDomain = new Map<string, CompiledPolicy>();
  const compiledFor = (trustDomain: string) => {
    const compiled = byTrustDomain.get(trustDomain) ?? compilePolicy({ ...mesh, trustDomain, revision: 0 });
    byTrustDomain.set(trustDomain, compiled);
    return compiled;
  };
  const peers = compilePeerAuthentication(mesh.peerAuthentications, mesh.rootNamespace);
  return cases.map(each => {
    if (each.from.principal === undefined && peers.modeOf(each.to, each.to.port ?? 0) === 'STRICT') {
      return { name: each.name, expect: each.expect, got: 'deny', rule: 'mtls-required' };
    }
    const trustDomain = mesh.trustDomain ?? trustDomainFor(each);
    return runCase(compiledFor(trustDomain), each);
  });
}

/** `cluster.local` for callers of that name, so that Istio's own files hold as they are, else our default. */
export function trustDomainFor({ from }: Pick<Question, 'from'>): string {
  return from.principal?.startsWith('cluster.local/') === true ? 'cluster.local' : defaultMesh.trustDomain;
}

function runCase(compiled: CompiledPolicy, { name, expect, to, ...asked }: PolicyCase): CaseResult {
  const { namespace, labels } = to;
  const policy = compiled.forWorkload({ namespace, labels, serviceAccount: 'default' });
  const request = requestOf({ to, ...asked });
  const verdict = verdictOf(authorize(policy, request));
  const shadow = policy.dryRun && verdictOf(authorize(policy.dryRun, request));
  return { name, expect, ...verdict, ...(shadow && shadow.got !== verdict.got && { dryRun: shadow }) };
}

function verdictOf(verdict: Verdict): CaseVerdict {
  return { got: verdict.allow ? 'allow' : 'deny', rule: ruleText(verdict) };
}

/** What every request has and a case need not say: a method, and a path. */
export function requestOf({ from, to, request }: Question): AuthorizationRequest {
  const connection = {
    principal: from.principal,
    sourceIp: from.ip ?? '',
    remoteIp: from.remoteIp ?? from.ip,
    destinationIp: to.ip ?? '',
    destinationPort: to.port ?? 0,
    serverName: to.sni,
  };
  const { protocol, method = protocol === 'grpc' ? 'POST' : 'GET', path = '/', claims } = request;
  if (protocol === 'tcp') return { ...connection, protocol };
  const headers = new Map(
    Object.entries(request.headers ?? {}).map(([header, value]) => [header.toLowerCase(), value]),
  );
  if (request.host !== undefined) headers.set('host', request.host);
  const header = (wanted: string) => headers.get(wanted);
  return { ...connection, protocol: 'http', method, host: header('host'), path, header, claims };
}

/** What a case says and nothing heeds: a sentence for each, that begins with its path. */
export function findIgnored({ from, request }: PolicyCase): string[] {
  const ignored: string[] = [];
  if (from.principal === undefined && from.namespace !== undefined) {
    ignored.push(
      'from.namespace: counts for nothing without a principal: a caller without a certificate is in no namespace',
    );
  }
  const { protocol, ...http } = request;
  if (protocol !== 'tcp') return ignored;
  const names = Object.entries(http).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  return [
    ...ignored,
    ...names.map(name => `request.${name}: counts for nothing: a TCP connection has no such attribute`),
  ];
}

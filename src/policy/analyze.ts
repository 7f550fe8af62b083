import {
  type AuthorizationPolicy,
  describeDocument,
  type Job,
  labelsOf,
  type PolicyDocument,
  type PolicyOf,
} from '../model/document.ts';
import { type Selecting, selects } from '../model/selector.ts';
import { likelyMistake, type Warning } from '../model/warning.ts';
import { findTraps, type IdentityKind, identityKinds, negativesAlone } from './check.ts';
import { type Field, type RuleFields, readRule } from './fields.ts';
import { type CompiledPeerAuthentication, compilePeerAuthentication } from './peer-authentication.ts';
import { findShadowed } from './shadowed.ts';

/** What policies are looked at in. */
export interface PolicyMesh {
  /** In the order in which they are enforced. */
  readonly policies: readonly AuthorizationPolicy[];
  readonly peerAuthentications: readonly PolicyOf<'PeerAuthentication'>[];
  readonly requestAuthentications: readonly PolicyOf<'RequestAuthentication'>[];
  readonly rateLimits: readonly PolicyOf<'RateLimit'>[];
  /** Where there is none at all, nothing is said that hangs on them. */
  readonly jobs: readonly Job[];
  readonly trustDomain: string;
  readonly rootNamespace: string;
  /** The documents, as `describeDocument` calls them, that are spoken of; absent: all. */
  readonly only?: ReadonlySet<string>;
}

/** Warns of what is legal in AuthorizationPolicies and hardly means what its author thinks, and of policies of any kind that select nothing. */
export function analyzePolicies(mesh: PolicyMesh): Warning[] {
  const peers = compilePeerAuthentication(mesh.peerAuthentications, mesh.rootNamespace);
  const isSpokenOf = (policy: PolicyDocument) => mesh.only?.has(describeDocument(policy)) ?? true;
  const others = [...mesh.peerAuthentications, ...mesh.requestAuthentications, ...mesh.rateLimits];
  return [
    ...mesh.policies.filter(isSpokenOf).flatMap(policy => analyzeOne(policy, mesh, peers)),
    ...others.filter(isSpokenOf).flatMap(policy => {
      const document = describeDocument(policy);
      return selectingNothing(policy, mesh).map(warning => ({ ...warning, document }));
    }),
    ...findShadowed(mesh),
  ];
}

function analyzeOne(policy: AuthorizationPolicy, mesh: PolicyMesh, peers: CompiledPeerAuthentication): Warning[] {
  const document = describeDocument(policy);
  const jobs = selectedJobs(policy, mesh);
  const rules = (policy.spec.rules ?? []).map((rule, i) => readRule(rule, `spec.rules[${i}]`));
  const found: Omit<Warning, 'document'>[] = [
    ...withoutRules(policy),
    ...selectingNothing(policy, mesh),
    ...portsOfNobody(rules, jobs),
    ...(policy.spec.action === 'ALLOW' ? rules.flatMap(rule => withoutIdentity(rule, policy, jobs, peers)) : []),
    ...rules.flatMap(rule => onTcp(rule, policy, jobs)),
    ...rules.flatMap(rule => ofUnknownDomain(rule, mesh.trustDomain)),
  ];
  return [
    ...findTraps(policy).map(said => likelyMistake(document, said)),
    ...found.map(warning => ({ ...warning, document })),
  ];
}

function selectedJobs(policy: Selecting, { jobs, rootNamespace }: PolicyMesh): Job[] {
  return jobs.filter(job => selects(policy, workloadOf(job), rootNamespace));
}

function workloadOf(job: Job) {
  return { namespace: job.metadata.namespace, labels: labelsOf(job) };
}

function withoutRules({ spec }: AuthorizationPolicy): Omit<Warning, 'document'>[] {
  if ((spec.rules ?? []).length > 0) return [];
  const path = 'spec.rules';
  if (spec.action === 'ALLOW') {
    const reason =
      'there are none: it allows nothing, and what it selects is denied all that no other ALLOW policy allows';
    return [{ code: 'ALLOW_WITHOUT_RULES', path, reason, fix: 'say what is allowed, or {} for everything' }];
  }
  const reason = `there are none, so the policy never matches: it ${spec.action === 'DENY' ? 'denies' : 'marks'} nothing`;
  return [{ code: 'LIKELY_MISTAKE', path, reason, fix: 'say what it is for, or {} for everything' }];
}

function selectingNothing(policy: Selecting, mesh: PolicyMesh): Omit<Warning, 'document'>[] {
  if (mesh.jobs.length === 0 || selectedJobs(policy, mesh).length > 0) return [];
  const { metadata, spec } = policy;
  const labels = Object.entries(spec.selector?.matchLabels ?? {}).map(pair => pair.join('='));
  const [path, reason] =
    labels.length === 0
      ? ['metadata.namespace', `there is no job in ${metadata.namespace}`]
      : ['spec.selector.matchLabels', `no job in its reach has ${labels.join(', ')}`];
  return [{ code: 'SELECTS_NOTHING', path, reason, fix: 'a job has its own labels and app=<its name>: correct it' }];
}

function withoutIdentity(
  rule: RuleFields,
  policy: AuthorizationPolicy,
  jobs: readonly Job[],
  peers: CompiledPeerAuthentication,
): Omit<Warning, 'document'>[] {
  const kinds: readonly IdentityKind[] = isStrict(policy, jobs, peers) ? ['token'] : ['certificate', 'token'];
  return kinds.flatMap(kind => {
    const { reason, fix } = identityKinds[kind];
    return negativesAlone(rule, kind).map(({ path }) => ({ code: 'ALLOW_WITHOUT_IDENTITY', path, reason, fix }));
  });
}

/** Only clients outside of the mesh come without a certificate: to published ports that are not STRICT. */
function isStrict(policy: AuthorizationPolicy, jobs: readonly Job[], peers: CompiledPeerAuthentication): boolean {
  const { namespace } = policy.metadata;
  const labels = policy.spec.selector?.matchLabels ?? {};
  const asked = jobs.length > 0 ? jobs.map(job => ({ workload: workloadOf(job), ports: publishedBy(job) })) : [];
  const open = asked.length === 0 ? [{ workload: { namespace, labels }, ports: [] }] : asked;
  return open.every(({ workload, ports }) =>
    (ports.length === 0 ? [0] : ports).every(port => peers.modeOf(workload, port) === 'STRICT'),
  );
}

function publishedBy({ spec }: Job): number[] {
  return spec.ports.flatMap(({ publish }) => publish ?? []);
}

function onTcp(rule: RuleFields, { spec }: AuthorizationPolicy, jobs: readonly Job[]): Omit<Warning, 'document'>[] {
  const job = jobs.find(({ spec: { ports, service } }) =>
    ports.some(
      ({ name, protocol, publish }) => protocol === 'tcp' && (name === service?.port || publish !== undefined),
    ),
  );
  if (job === undefined) return [];
  const does =
    spec.action === 'ALLOW'
      ? 'there this rule never allows'
      : `there it is left out, and the rule ${acts[spec.action]} more`;
  return rule.all
    .filter(({ attribute }) => attribute.httpOnly)
    .map(({ path }) => ({
      code: 'HTTP_FIELD_ON_TCP',
      path,
      reason: `${describeDocument(job)} speaks TCP, which has no such attribute: ${does}`,
      fix: 'select only what speaks HTTP, and write the TCP job a policy with principals and ports alone',
    }));
}

const acts = { DENY: 'denies', AUDIT: 'marks' } as const;

/** Ports of tasks are given by the scheduler; only those that are published have numbers that a policy can know. */
function portsOfNobody(rules: readonly RuleFields[], jobs: readonly Job[]): Omit<Warning, 'document'>[] {
  if (jobs.length === 0) return [];
  const published = new Set(jobs.flatMap(publishedBy).map(String));
  return rules
    .flatMap(rule => rule.all)
    .filter(({ key }) => key === 'destination.port')
    .flatMap(({ path, values, notValues }) =>
      [...values, ...notValues]
        .filter(port => !published.has(port))
        .map(port => ({
          code: 'PORT_NOT_DECLARED',
          path,
          reason: `no job that it selects publishes port ${port}, and ports of tasks are given by the scheduler`,
          fix: 'publish it in the job, or tell calls apart by host, method or path',
        })),
    );
}

function ofUnknownDomain(rule: RuleFields, trustDomain: string): Omit<Warning, 'document'>[] {
  return rule.all.flatMap(field =>
    [...field.values, ...field.notValues].flatMap(value => {
      const domain = domainOf(field, value);
      if (domain === undefined || domain === trustDomain || domain === 'cluster.local') return [];
      return [
        {
          code: 'UNKNOWN_TRUST_DOMAIN',
          path: field.path,
          reason: `${value} is of the trust domain ${domain}, and all callers are of ${trustDomain}`,
          fix: `write ${trustDomain}, cluster.local, or */ns/<namespace>/sa/<account>`,
        },
      ];
    }),
  );
}

/** The trust domain of a principal that names one whole. */
function domainOf({ key }: Field, value: string): string | undefined {
  const [domain = ''] = value.split('/');
  if (domain.includes('*')) return undefined;
  if (key === 'source.trustDomain') return domain;
  return key === 'source.principal' && value.includes('/') ? domain : undefined;
}

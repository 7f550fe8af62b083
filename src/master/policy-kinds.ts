import { agentVersionName } from '../model/agent-version.ts';
import { type Findings, type Job, labelsOf, type PolicyDocument, type PolicyOf } from '../model/document.ts';
import { profileProblem } from '../model/profile.ts';
import { type Selecting, selects } from '../model/selector.ts';
import { findErrors, isInDryRun } from '../policy/check.ts';
import { checkPeerAuthentication } from '../policy/peer-authentication.ts';
import { checkRequestAuthentication } from '../policy/request-authentication.ts';
import { checkDestinationRule } from '../traffic/destinations.ts';
import { checkRateLimit } from '../traffic/limit.ts';
import { compileRegex } from '../traffic/regex.ts';
import { checkVirtualService } from '../traffic/route-check.ts';
import { servicesNamed, type VirtualService } from '../traffic/service-routes.ts';

// What the master knows of each policy kind: a kind that is missing here does not compile.

/** What a policy is checked against. */
export interface MeshFacts {
  /** Those that are sent with it first: a job that replaces another may be there twice. */
  readonly jobs: readonly Job[];
  readonly rootNamespace: string;
  /** All of them, as they are once those that are sent are stored. */
  readonly virtualServices: readonly VirtualService[];
}

/** What the shape of a document does not say. */
export function checkPolicyDocument(document: PolicyDocument, facts: MeshFacts): Findings {
  switch (document.kind) {
    case 'AgentVersion':
      return { errors: misplaced(document, facts), warnings: [] };
    case 'Profile':
      return { errors: profileErrors(document, facts), warnings: [] };
    case 'AuthorizationPolicy':
      // what it warns of is found by `policy/analyze.ts`
      return { errors: findErrors(document), warnings: [] };
    case 'DestinationRule':
      return checkDestinationRule(document);
    case 'PeerAuthentication':
      return checkPeerAuthentication(document, { ...facts, publishes: publishedBy(document, facts) });
    case 'RateLimit':
      return checkRateLimit(document, { servesTcp: servesTcp(document, facts) });
    case 'RequestAuthentication':
      return checkRequestAuthentication(document, { servesTcp: servesTcp(document, facts) });
    case 'VirtualService':
      return withTwins(checkVirtualService(document, compileRegex), document, facts.virtualServices);
    default:
      return document satisfies never;
  }
}

/** What a document does, in a word or two: for lists. */
export function actionOf(document: PolicyDocument): string {
  switch (document.kind) {
    case 'AgentVersion':
      return `runs ${document.spec.source.slice(0, 21)}…`;
    case 'AuthorizationPolicy':
      return `${document.spec.action}${isInDryRun(document) ? ' (dry run)' : ''}`;
    case 'DestinationRule':
      return document.spec.host;
    case 'PeerAuthentication':
      return document.spec.mtls.mode;
    case 'Profile':
      return `for ${document.spec.title}`;
    case 'RateLimit':
      return `limits each ${document.spec.per}${document.spec.enforce ? '' : ' (shadow)'}`;
    case 'RequestAuthentication':
      return `tokens of ${[...new Set(document.spec.jwtRules.map(({ issuer }) => issuer))].join(', ')}`;
    case 'VirtualService':
      return `routes ${document.spec.hosts.join(', ')}`;
    default:
      return document satisfies never;
  }
}

/** All nodes have the same one, so that it goes through the fleet by one rollout. */
function misplaced({ metadata }: PolicyOf<'AgentVersion'>, { rootNamespace }: MeshFacts): string[] {
  const isRight = metadata.name === agentVersionName && metadata.namespace === rootNamespace;
  return isRight ? [] : [`metadata: expected the name ${agentVersionName} in the namespace ${rootNamespace}`];
}

/** Boards are the fleet's, not a namespace's. */
function profileErrors({ metadata, spec }: PolicyOf<'Profile'>, { rootNamespace }: MeshFacts): string[] {
  const problem = profileProblem(spec);
  return [
    ...(metadata.namespace === rootNamespace ? [] : [`metadata.namespace: expected ${rootNamespace}`]),
    ...(problem === undefined ? [] : [`spec.${problem}`]),
  ];
}

/** Only one VirtualService of a namespace is asked about a service. */
function withTwins(found: Findings, document: VirtualService, all: readonly VirtualService[]): Findings {
  const { name, namespace } = document.metadata;
  const servicesOf = ({ metadata, spec }: VirtualService) => servicesNamed(spec.hosts, metadata.namespace);
  const own = new Set(servicesOf(document));
  const warnings = all
    .filter(({ metadata }) => metadata.namespace === namespace && metadata.name !== name)
    .flatMap(other =>
      servicesOf(other)
        .filter(service => own.has(service))
        .map(service => {
          const [first] = [other.metadata.name, name].sort();
          return `spec.hosts: ${namespace}/${other.metadata.name} speaks of ${service} too: only ${namespace}/${first} is asked`;
        }),
    );
  return { errors: found.errors, warnings: [...found.warnings, ...warnings] };
}

/** Does a job that the policy selects serve the mesh over plain TCP? */
function servesTcp(policy: Selecting, facts: MeshFacts): boolean {
  return selectedBy(policy, facts).some(
    ({ spec }) => spec.ports.find(port => port.name === spec.service?.port)?.protocol === 'tcp',
  );
}

function publishedBy(policy: Selecting, facts: MeshFacts): ReadonlySet<number> {
  return new Set(selectedBy(policy, facts).flatMap(({ spec }) => spec.ports.flatMap(({ publish }) => publish ?? [])));
}

function selectedBy(policy: Selecting, { jobs, rootNamespace }: MeshFacts): Job[] {
  return jobs.filter(job =>
    selects(policy, { namespace: job.metadata.namespace, labels: labelsOf(job) }, rootNamespace),
  );
}

import { isMesoliteError, MesoliteError } from '../base/errors.ts';
import { decodeDocument, type Findings, type Job, labelsOf, type OperatorDocument } from '../model/document.ts';
import { profileProblem } from '../model/profile.ts';
import { type Selecting, selects } from '../model/selector.ts';
import type { YamlDocument } from '../model/yaml-text.ts';
import { findErrors } from '../policy/check.ts';
import { checkPeerAuthentication } from '../policy/peer-authentication.ts';
import { checkRequestAuthentication } from '../policy/request-authentication.ts';
import { checkDestinationRule } from '../traffic/destinations.ts';
import { checkRateLimit } from '../traffic/limit.ts';
import { compileRegex } from '../traffic/regex.ts';
import { checkVirtualService } from '../traffic/route-check.ts';

/** What the shape of a document does not say, as a master finds it; what is to warn of in AuthorizationPolicies is found by `policy/analyze.ts`. */
export function checkDocument(
  document: OperatorDocument,
  { jobs, rootNamespace }: { readonly jobs: readonly Job[]; readonly rootNamespace: string },
): Findings {
  const selectedBy = (policy: Selecting) =>
    jobs.filter(job => selects(policy, { namespace: job.metadata.namespace, labels: labelsOf(job) }, rootNamespace));
  const servesTcp = (policy: Selecting) =>
    selectedBy(policy).some(({ spec: { ports, service } }) =>
      ports.some(({ name, protocol }) => name === service?.port && protocol === 'tcp'),
    );
  switch (document.kind) {
    case 'AuthorizationPolicy':
      return { errors: findErrors(document), warnings: [] };
    case 'DestinationRule':
      return checkDestinationRule(document);
    case 'PeerAuthentication': {
      const ports = selectedBy(document).flatMap(({ spec }) => spec.ports.flatMap(({ publish }) => publish ?? []));
      return checkPeerAuthentication(document, { rootNamespace, publishes: new Set(ports) });
    }
    case 'Profile': {
      const problem = profileProblem(document.spec);
      return { errors: problem === undefined ? [] : [`spec.${problem}`], warnings: [] };
    }
    case 'RateLimit':
      return checkRateLimit(document, { servesTcp: servesTcp(document) });
    case 'RequestAuthentication':
      return checkRequestAuthentication(document, { servesTcp: servesTcp(document) });
    case 'VirtualService':
      return checkVirtualService(document, compileRegex);
    case 'AgentVersion':
    case 'Job':
    case 'Role':
    case 'Rollout':
      return { errors: [], warnings: [] };
    default:
      return document satisfies never;
  }
}

/** Reads documents of files; throws INVALID_INPUT naming all that is wrong, by file and path; where the root namespace is not known, what hangs on it is left to the master. */
export function decodeAll(files: readonly YamlDocument[], rootNamespace = ''): OperatorDocument[] {
  const problems: string[] = [];
  const documents = files.flatMap(({ value, what }) => {
    try {
      const document = decodeDocument(value, what);
      const { errors } = checkDocument(document, { jobs: [], rootNamespace });
      problems.push(...errors.map(error => `${what}: ${error}`));
      return [document];
    } catch (error) {
      if (!isMesoliteError(error)) throw error;
      problems.push(error.message);
      return [];
    }
  });
  if (problems.length > 0) throw new MesoliteError('INVALID_INPUT', problems.join('\n'));
  return documents;
}

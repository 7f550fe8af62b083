import type { AuthorizationRequest, Verdict } from '../model/policy.ts';
import type { WorkloadPolicy } from './compile.ts';
import { Facts } from './facts.ts';
import { normalizePath } from './normalize-path.ts';

/**
 * Decides one request in Istio's order: a DENY rule that matches; without ALLOW policies the mesh default; an ALLOW rule that
 * matches; deny. Of several rules that match the first is named. A path that has no normal form is `bad-path`: to be answered with 400.
 */
export function authorize(policy: WorkloadPolicy, request: AuthorizationRequest): Verdict {
  const http = request.protocol === 'http';
  let path: string | undefined;
  if (http && request.path !== undefined) {
    path = normalizePath(request.path, policy.pathNormalization);
    if (path === undefined) return badPath;
  }
  const rules = http ? policy.http : policy.tcp;
  const facts = new Facts(request, path);
  const decisive = rules.deny.find(facts) ?? rules.allow.find(facts);
  return decisive === undefined ? rules.otherwise : decisive.verdict;
}

const badPath: Verdict = { allow: false, reason: 'bad-path' };

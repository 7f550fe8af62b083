import { type AuthorizationRequest, ruleText, type Shadow, type ShadowEffect, type Verdict } from '../model/policy.ts';
import { authorize } from './authorize.ts';
import type { WatchedPolicy, WorkloadPolicy } from './compile.ts';
import { Facts } from './facts.ts';
import { normalizePath } from './normalize-path.ts';

/**
 * What the policies that decide nothing say of a request that was decided by `enforced`; undefined when it is nothing. Those in dry run are
 * taken together, as they would be in force: what falls to no rule, but to there being ALLOW policies, counts for each of these.
 */
export function authorizeInShadow(
  policy: WorkloadPolicy,
  request: AuthorizationRequest,
  enforced: Verdict,
): Shadow | undefined {
  if (policy.watched.length === 0 || enforced.reason === 'bad-path') return undefined;
  const dry = policy.dryRun === undefined ? enforced : authorize(policy.dryRun, request);
  const verdict = dry.allow === enforced.allow ? undefined : dry;
  const facts = factsOf(policy, request);
  let audited: string | undefined;
  const effects = policy.watched.map((watched): ShadowEffect => {
    if (watched.audit === undefined) return effectOf(watched, verdict);
    const found = watched.audit[request.protocol].find(facts);
    if (found === undefined) return 'none';
    audited ??= ruleText(found.verdict);
    return 'audit';
  });
  return audited === undefined && verdict === undefined ? undefined : { audited, verdict, effects };
}

function factsOf({ pathNormalization }: WorkloadPolicy, request: AuthorizationRequest): Facts {
  const { path, protocol } = request;
  const normal = protocol === 'http' && path !== undefined ? normalizePath(path, pathNormalization) : undefined;
  return new Facts(request, normal);
}

function effectOf({ policy, action }: WatchedPolicy, verdict: Verdict | undefined): ShadowEffect {
  if (verdict === undefined) return 'none';
  const isCause = verdict.policy === undefined ? action === 'ALLOW' : verdict.policy === policy;
  if (!isCause) return 'none';
  return verdict.allow ? 'allow' : 'deny';
}

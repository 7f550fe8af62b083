import { type AuthorizationPolicy, describeDocument } from '../model/document.ts';
import type { Warning } from '../model/warning.ts';
import { isInDryRun } from './check.ts';
import { readRule } from './fields.ts';
import { covers, type PlacedRule } from './subsume.ts';

/** Rules are compared with each other up to so many pairs: 500 rules in one namespace. */
export const maxComparedPairs = 300_000;

interface Entry extends PlacedRule {
  readonly policy: AuthorizationPolicy;
  readonly index: number;
  /** It decides, so that it can stand in the way of others. */
  readonly isInForce: boolean;
}

/**
 * Rules that never decide, since an earlier one of the same action, or a DENY rule, matches all that they match, for all workloads that they
 * are for. Nothing is said that is not so; what is not seen to is not said.
 */
export function findShadowed(mesh: {
  readonly policies: readonly AuthorizationPolicy[];
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly only?: ReadonlySet<string>;
}): Warning[] {
  const { rootNamespace } = mesh;
  const entries = mesh.policies.flatMap(policy => entriesOf(policy, mesh.trustDomain));
  let left = maxComparedPairs;
  return entries.flatMap((narrow, at) => {
    if (narrow.action === 'AUDIT' || mesh.only?.has(describeDocument(narrow.policy)) === false) return [];
    for (const [i, wide] of entries.entries()) {
      const isEarlier = i < at && wide.action === narrow.action;
      const isDenied = wide.action === 'DENY' && narrow.action === 'ALLOW';
      if (!wide.isInForce || !(isEarlier || isDenied) || !reaches(wide.policy, narrow.policy, rootNamespace)) continue;
      if (left-- <= 0) return [];
      if (covers(wide, narrow)) return [warningOf(narrow, wide)];
    }
    return [];
  });
}

function entriesOf(policy: AuthorizationPolicy, trustDomain: string): Entry[] {
  const { spec, metadata } = policy;
  const scope = { trustDomain, namespace: metadata.namespace };
  return (spec.rules ?? []).map((rule, index) => ({
    rule: readRule(rule, ''),
    action: spec.action,
    scope,
    policy,
    index,
    isInForce: !isInDryRun(policy),
  }));
}

/** Is the one for every workload that the other is for? */
function reaches(wide: AuthorizationPolicy, narrow: AuthorizationPolicy, rootNamespace: string): boolean {
  const { namespace } = wide.metadata;
  if (namespace !== narrow.metadata.namespace && namespace !== rootNamespace) return false;
  const narrowLabels = narrow.spec.selector?.matchLabels ?? {};
  return Object.entries(wide.spec.selector?.matchLabels ?? {}).every(
    ([name, value]) => Object.hasOwn(narrowLabels, name) && narrowLabels[name] === value,
  );
}

function warningOf(narrow: Entry, wide: Entry): Warning {
  const { namespace, name } = wide.policy.metadata;
  const other = `rule ${wide.index} of ${namespace}/${name}`;
  const at = { document: describeDocument(narrow.policy), path: `spec.rules[${narrow.index}]` };
  return wide.action === narrow.action
    ? {
        code: 'RULE_SHADOWED',
        ...at,
        reason: `${other} matches all that this one matches, so that it never decides`,
        fix: 'leave it out, or narrow the other',
      }
    : {
        code: 'ALLOW_ALWAYS_DENIED',
        ...at,
        reason: `${other} denies all that this one allows`,
        fix: 'narrow the DENY rule, or leave this one out',
      };
}

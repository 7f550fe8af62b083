import type { AuthorizationPolicy, Findings } from '../model/document.ts';
import type { Rule, Source } from '../model/policy.ts';
import { type Field, type RuleFields, readRule } from './fields.ts';

/** The annotation that keeps a policy from being enforced: what it would do is worked out all the same. */
export const dryRunAnnotation = 'istio.io/dry-run';

/**
 * Checks what the shape of a policy does not say. `servesTcp` tells that a workload it selects has a TCP port, where
 * fields that only HTTP has change its meaning.
 */
export function checkPolicy(document: AuthorizationPolicy, facts: { readonly servesTcp?: boolean } = {}): Findings {
  const { spec } = document;
  const warnings: string[] = [];
  if ((spec.rules ?? []).length === 0) warnings.push(`spec.rules: ${meaningOfNoRules[spec.action]}`);
  warnings.push(...findTraps(document));
  for (const [i, rule] of (spec.rules ?? []).entries()) {
    const fields = readRule(rule, pathOf(i));
    if (spec.action === 'ALLOW') warnings.push(...lettingInMore(fields));
    if (facts.servesTcp === true) warnings.push(...onTcp(spec.action, fields));
  }
  return { errors: findErrors(document), warnings };
}

/** Values and parts that are legal, and never match or restrict nothing: what `checkPolicy` warns of whatever the policy is for. */
export function findTraps({ spec }: AuthorizationPolicy): string[] {
  return (spec.rules ?? []).flatMap((rule, i) => {
    const path = pathOf(i);
    return [...emptyParts(rule, path), ...trapsOf(readRule(rule, path))];
  });
}

/** Is it asked, and not enforced? */
export function isInDryRun({ metadata }: AuthorizationPolicy): boolean {
  return metadata.annotations[dryRunAnnotation] === 'true';
}

/** The errors of `checkPolicy` alone. */
export function findErrors({ metadata, spec }: AuthorizationPolicy): readonly string[] {
  const errors = (spec.rules ?? []).flatMap((rule, i) => errorsOf(rule, readRule(rule, pathOf(i)), pathOf(i)));
  const dryRun = metadata.annotations[dryRunAnnotation] ?? 'false';
  if (dryRun === 'true' || dryRun === 'false') return errors;
  const expected = `expected "true" or "false", got ${JSON.stringify(dryRun)}`;
  return [`metadata.annotations["${dryRunAnnotation}"]: ${expected}`, ...errors];
}

function pathOf(rule: number): string {
  return `spec.rules[${rule}]`;
}

const meaningOfNoRules = {
  ALLOW: 'there are none, so the policy never matches: it denies every request that no other ALLOW policy allows',
  DENY: 'there are none, so the policy never matches: it denies nothing',
  AUDIT: 'there are none, so the policy never matches',
} as const;

function errorsOf(rule: Rule, fields: RuleFields, path: string): string[] {
  return [
    ...fields.unknown.map(({ path, reason }) => `${path}: ${reason}`),
    ...fields.all.flatMap(field => describe(field, value => field.attribute.problem(value))),
    ...(rule.from ?? []).flatMap(({ source }, i) => mixedIdentities(source, `${path}.from[${i}].source`)),
  ];
}

function trapsOf(fields: RuleFields): string[] {
  return fields.all.flatMap(field => describe(field, value => field.attribute.trap(value)));
}

function describe(field: Field, judge: (value: string) => string | undefined): string[] {
  return [...field.values, ...field.notValues].flatMap(value => {
    const reason = judge(value);
    return reason === undefined ? [] : [`${field.path}: ${reason}`];
  });
}

/** Istio's API refuses it: an account names its namespace already. */
function mixedIdentities(source: Source, path: string): string[] {
  const accounts = source.serviceAccounts ?? source.notServiceAccounts;
  const others = source.principals ?? source.notPrincipals ?? source.namespaces ?? source.notNamespaces;
  if (accounts === undefined || others === undefined) return [];
  return [`${path}.serviceAccounts: cannot be combined with principals or namespaces: use one of them`];
}

function emptyParts(rule: Rule, path: string): string[] {
  const parts: (readonly [string, object | undefined])[] = [
    [`${path}.from`, rule.from],
    [`${path}.to`, rule.to],
    ...(rule.from ?? []).flatMap(({ source }, i) => withLists(`${path}.from[${i}].source`, source)),
    ...(rule.to ?? []).flatMap(({ operation }, i) => withLists(`${path}.to[${i}].operation`, operation)),
  ];
  return parts.flatMap(([place, part]) =>
    part !== undefined && Object.keys(part).length === 0 ? [`${place}: empty, so it restricts nothing`] : [],
  );
}

function withLists(
  path: string,
  part: Readonly<Record<string, readonly string[] | undefined>>,
): [string, object | undefined][] {
  return [
    [path, part],
    ...Object.entries(part).map(([name, list]): [string, object | undefined] => [`${path}.${name}`, list]),
  ];
}

/** By what a caller is known, and what is to say where an ALLOW rule lets in who has none of it. */
export const identityKinds = {
  certificate: {
    isOf: ({ attribute }: Field) => attribute.ofPeer === true,
    reason: 'also allows callers without mTLS, for they have no identity that could match',
    fix: 'add principals: ["*"], or a PeerAuthentication that is STRICT',
  },
  token: {
    isOf: ({ attribute }: Field) => attribute.reading === 'claims',
    reason: 'also allows callers without a token, for they have no claims that could match',
    fix: 'add requestPrincipals: ["*"]',
  },
} as const;
export type IdentityKind = keyof typeof identityKinds;

/** A negative match is true of a caller without any identity. */
function lettingInMore(fields: RuleFields): string[] {
  return (['certificate', 'token'] as const).flatMap(kind => {
    const { reason, fix } = identityKinds[kind];
    return negativesAlone(fields, kind).map(({ path }) => `${path}: ${reason}; ${fix}`);
  });
}

/** The first field of each alternative that says of the caller's certificate, or of its token, only what it may not be. */
export function negativesAlone(fields: RuleFields, kind: IdentityKind): Field[] {
  const alternatives = fields.from.length === 0 ? [fields.when] : fields.from.map(from => [...from, ...fields.when]);
  return alternatives.flatMap(alternative => {
    const identities = alternative.filter(identityKinds[kind].isOf);
    const [first] = identities;
    // who writes "*" there means those who have none
    const isMeant = identities.some(({ values, notValues }) => values.length > 0 || notValues.includes('*'));
    return first === undefined || isMeant ? [] : [first];
  });
}

function onTcp(action: 'ALLOW' | 'DENY' | 'AUDIT', fields: RuleFields): string[] {
  return fields.all
    .filter(({ attribute }) => attribute.httpOnly)
    .map(({ path }) =>
      action === 'ALLOW'
        ? `${path}: a TCP connection has no such attribute: on a TCP port this rule never allows`
        : `${path}: a TCP connection has no such attribute: on a TCP port it is ignored and the rule denies more`,
    );
}

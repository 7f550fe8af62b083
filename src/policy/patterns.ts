import { matchesText, parseTextMatch, type TextMatch } from '../base/match.ts';
import type { Facts } from './facts.ts';
import { isPathTemplate, parsePathTemplate } from './path-template.ts';

/** How the text of an attribute is matched: by Istio's string rules, or by what a template was compiled to. */
export type Pattern = TextMatch | RegExp;

/** A header of Envoy's: `*` is content with its presence, where a text must not be empty (matcher/header.go). */
export function presentOrText(value: string, ignoreCase = false): TextMatch {
  return value === '*' ? { kind: 'prefix', text: '', ignoreCase } : parseTextMatch(value, ignoreCase);
}

/** A path by string rule, or by template. */
export function parsePath(value: string): Pattern {
  const template = isPathTemplate(value) ? parsePathTemplate(value) : undefined;
  return template instanceof RegExp ? template : parseTextMatch(value);
}

/** Why a path of a policy hardly means what its author thinks. */
export function pathTrap(value: string): string | undefined {
  if (isPathTemplate(value)) return undefined;
  if (!/^[/*]/.test(value)) return `a path starts with "/": ${JSON.stringify(value)} never matches`;
  if (/[?#]/.test(value))
    return `a path is compared without query and fragment: ${JSON.stringify(value)} never matches`;
  return innerStar(value);
}

/** Why a principal of a policy hardly means what its author thinks. */
export function principalTrap(value: string): string | undefined {
  if (value.includes('*') || /^[^/]+\/ns\/[^/]+\/sa\/[^/]+$/.test(value)) return innerStar(value);
  return `a principal is <trust domain>/ns/<namespace>/sa/<service account>, or */sa/<service account>: ${JSON.stringify(value)} never matches`;
}

/** In a namespace `*` stands for any characters wherever it is (generator.go, srcNamespaceGenerator), here within the name. */
export function parseNamespace(value: string): Pattern {
  const inner = innerStar(value) !== undefined;
  return inner ? new RegExp(`^${value.split('*').map(escapeRegExp).join('[^/]*')}$`) : parseTextMatch(value);
}

/** `cluster.local` points to the trust domain of the mesh, whatever that is called (trustdomain/bundle.go). */
export function inTrustDomain(principal: string, trustDomain: string): string {
  const [first, ...path] = principal.split('/');
  return first === 'cluster.local' && path.length === 4 ? [trustDomain, ...path].join('/') : principal;
}

/** Does a text match any of the patterns? */
export function anyText(
  read: (facts: Facts) => string | undefined,
  patterns: readonly Pattern[],
): (facts: Facts) => boolean {
  const [only] = patterns;
  if (patterns.length === 1 && only !== undefined) return oneText(read, only);
  const exact = new Set(patterns.filter(isExact).map(pattern => pattern.text));
  const others = patterns.filter(pattern => !isExact(pattern));
  return facts => {
    const value = read(facts);
    if (value === undefined) return false;
    if (exact.has(value)) return true;
    for (const pattern of others) if (matchesPattern(pattern, value)) return true;
    return false;
  };
}

function oneText(read: (facts: Facts) => string | undefined, pattern: Pattern): (facts: Facts) => boolean {
  if (!isExact(pattern)) return facts => matchesPattern(pattern, read(facts));
  const { text } = pattern;
  return facts => read(facts) === text;
}

function matchesPattern(pattern: Pattern, value: string | undefined): boolean {
  return isTextMatch(pattern) ? matchesText(pattern, value) : value !== undefined && pattern.test(value);
}

function isExact(pattern: Pattern): pattern is TextMatch {
  return isTextMatch(pattern) && pattern.kind === 'exact';
}

/** Is it a string rule, which an index can look up? */
export function isTextMatch(pattern: Pattern): pattern is TextMatch {
  return !(pattern instanceof RegExp);
}

/** The warning on a `*` that is no wildcard. */
export function innerStar(value: string): string | undefined {
  const inner = value.slice(
    value.startsWith('*') ? 1 : 0,
    value.length > 1 && value.endsWith('*') && !value.startsWith('*') ? -1 : undefined,
  );
  return inner.includes('*')
    ? `only one "*", at the start or the end, is a wildcard: ${JSON.stringify(value)} has one that is taken literally`
    : undefined;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, '\\$&');
}

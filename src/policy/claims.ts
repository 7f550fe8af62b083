import { parseTextMatch, type TextMatch } from '../base/match.ts';

/** The way to a claim through nested objects: `request.auth.claims[a][b]` is `['a', 'b']`. */
export type ClaimPath = readonly string[];

/** What a verified token says. */
export type Claims = Readonly<Record<string, unknown>>;

/** The claim at `path`; undefined when there is none. */
export function claimAt(claims: Claims | undefined, path: ClaimPath): unknown {
  let value: unknown = claims;
  for (const name of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Claims)[name];
  }
  return value;
}

/** Claims that are lists written as one text, separated by spaces (Istio: `scope` and `permission`). */
const spaceDelimited: ReadonlySet<string> = new Set(['scope', 'permission']);

/** The texts of a claim: its value, or the texts in its list; none when it is absent or neither. */
export function claimTexts(claims: Claims | undefined, path: ClaimPath): readonly string[] {
  const value = claimAt(claims, path);
  if (Array.isArray(value)) return value.filter(item => typeof item === 'string');
  if (typeof value !== 'string') return [];
  return spaceDelimited.has(path.at(-1) ?? '') ? value.split(' ').filter(word => word !== '') : [value];
}

/** Lists that an issuer writes as one text, as lists; the first level alone, as in Envoy. */
export function withLists<T extends Claims>(claims: T, names: readonly string[]): T {
  const lists = names.flatMap(name => {
    const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
    return typeof value === 'string' ? [[name, value.split(' ').filter(word => word !== '')] as const] : [];
  });
  return lists.length === 0 ? claims : { ...claims, ...Object.fromEntries(lists) };
}

/** What issuer and subject of a token must match together. */
export interface RequestPrincipal {
  readonly issuer: TextMatch;
  readonly subject: TextMatch;
}

const present = parseTextMatch('*');

/** Reads `<iss>/<sub>`, split at the last "/" because an issuer may be an URL; one `*` at an end, as in a string rule. */
export function parseRequestPrincipal(value: string): RequestPrincipal {
  const slash = value.lastIndexOf('/');
  if (value === '*') return { issuer: present, subject: present };
  if (slash < 0) {
    if (value.startsWith('*')) return { issuer: present, subject: parseTextMatch(value) };
    if (value.endsWith('*')) return { issuer: parseTextMatch(value), subject: present };
    return { issuer: exact(value), subject: exact('') };
  }
  const issuer = value.slice(0, slash);
  const subject = value.slice(slash + 1);
  if (value.startsWith('*')) return { issuer: parseTextMatch(issuer), subject: exact(subject) };
  return { issuer: exact(issuer), subject: value.endsWith('*') ? parseTextMatch(subject) : exact(subject) };
}

function exact(text: string): TextMatch {
  return { kind: 'exact', text, ignoreCase: false };
}

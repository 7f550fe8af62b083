import { contains, matchesText, parseCidr, parseTextMatch, type TextMatch } from '../base/match.ts';
import { type ClaimPath, claimTexts, parseRequestPrincipal } from './claims.ts';
import type { Facts } from './facts.ts';
import { isPathTemplate, parsePathTemplate } from './path-template.ts';
import {
  anyText,
  innerStar,
  inTrustDomain,
  isTextMatch,
  type Pattern,
  parseNamespace,
  parsePath,
  pathTrap,
  presentOrText,
  principalTrap,
} from './patterns.ts';

/** Does a request match? */
export type Test = (facts: Facts) => boolean;

/** What a value of a policy is read in. */
export interface Scope {
  readonly trustDomain: string;
  /** Of the policy. */
  readonly namespace: string;
}

/** What a verdict may depend on beside principal, method, path and port; a cache of verdicts needs it in its key. */
export type Reading = 'sourceIp' | 'remoteIp' | 'destinationIp' | 'serverName' | 'host' | 'claims';

/** Attributes by which a rule is found without trying the others. */
export type Dimension = 'principal' | 'account' | 'namespace' | 'path' | 'host';

export const dimensionReaders: Readonly<Record<Dimension, (facts: Facts) => string | undefined>> = {
  principal: facts => facts.request.principal,
  account: facts => facts.account,
  namespace: facts => facts.namespace,
  path: facts => facts.path,
  host: facts => facts.host,
};

/** One attribute of a request that rules name, with how its values are checked and compiled. */
export interface Attribute {
  /** A TCP connection does not have it. */
  readonly httpOnly: boolean;
  /** It comes from the peer's certificate: a plaintext caller does not have it. */
  readonly ofPeer?: boolean;
  readonly reading?: Reading;
  /** The lower-case name of the header it reads. */
  readonly header?: string;
  readonly dimension?: Dimension;
  /** What a request has of it, in words; undefined when it has none. */
  show(facts: Facts): string | undefined;
  /** Why a value cannot be taken. */
  problem(value: string): string | undefined;
  /** Why a value, though legal, hardly means what its author thinks. */
  trap(value: string): string | undefined;
  /** Does the attribute match any of the values? They have no problem; a missing attribute matches none. */
  compile(values: readonly string[], scope: Scope): Test;
  /** The values as the index takes them; undefined when one of them cannot be looked up. */
  patterns(values: readonly string[], scope: Scope): readonly TextMatch[] | undefined;
}

interface TextSettings {
  readonly httpOnly?: boolean;
  readonly ofPeer?: boolean;
  readonly reading?: Reading;
  readonly header?: string;
  readonly dimension?: Dimension;
  readonly parse?: (value: string, scope: Scope) => Pattern;
  readonly problem?: (value: string) => string | undefined;
  readonly trap?: (value: string) => string | undefined;
}

/** An attribute that is one text, matched by Istio's string rules unless `parse` says otherwise. */
export function textAttribute(read: (facts: Facts) => string | undefined, settings: TextSettings): Attribute {
  const parse = settings.parse ?? (value => parseTextMatch(value));
  return {
    ...settings,
    httpOnly: settings.httpOnly ?? false,
    show: read,
    problem: settings.problem ?? none,
    trap: settings.trap ?? innerStar,
    compile: (values, scope) =>
      anyText(
        read,
        values.map(value => parse(value, scope)),
      ),
    patterns(values, scope) {
      const patterns = values.map(value => parse(value, scope));
      return patterns.every(isTextMatch) ? patterns : undefined;
    },
  };
}

function addressAttribute(
  read: (facts: Facts) => Facts['sourceAddress'],
  reading: 'sourceIp' | 'remoteIp' | 'destinationIp',
): Attribute {
  return {
    httpOnly: false,
    reading,
    show: facts => facts.request[reading] || undefined,
    problem(value) {
      const block = parseCidr(value);
      return 'reason' in block ? block.reason : undefined;
    },
    trap: none,
    compile(values) {
      const blocks = values.flatMap(value => {
        const block = parseCidr(value);
        return 'reason' in block ? [] : [block];
      });
      return facts => {
        const address = read(facts);
        return address !== undefined && blocks.some(block => contains(block, address));
      };
    },
    patterns: none,
  };
}

/** A claim of a verified token: a text, or a list of which one must match. */
export function claimAttribute(path: ClaimPath): Attribute {
  return {
    httpOnly: true,
    reading: 'claims',
    show: facts => claimTexts(facts.request.claims, path).join(', ') || undefined,
    problem: none,
    trap: innerStar,
    compile(values) {
      const matches = values.map(value => parseTextMatch(value));
      return facts => {
        const texts = claimTexts(facts.request.claims, path);
        return texts.some(text => matches.some(match => matchesText(match, text)));
      };
    },
    patterns: none,
  };
}

const requestPrincipal: Attribute = {
  httpOnly: true,
  reading: 'claims',
  show({ request: { claims } }) {
    const parts = [...claimTexts(claims, ['iss']).slice(0, 1), ...claimTexts(claims, ['sub']).slice(0, 1)];
    return parts.length === 2 ? parts.join('/') : undefined;
  },
  problem: none,
  trap: value => innerStar(value.replace(/^\*\/|\/\*$/, '')),
  compile(values) {
    const pairs = values.map(parseRequestPrincipal);
    return facts => {
      const claims = facts.request.claims;
      const issuer = claimTexts(claims, ['iss'])[0];
      const subject = claimTexts(claims, ['sub'])[0];
      return pairs.some(pair => matchesText(pair.issuer, issuer) && matchesText(pair.subject, subject));
    };
  },
  patterns: none,
};

const port: Attribute = {
  httpOnly: false,
  show: facts => String(facts.request.destinationPort),
  problem: value =>
    /^(0|[1-9]\d{0,4})$/.test(value) && Number(value) <= 65_535
      ? undefined
      : `expected a port of 0 to 65535, got ${JSON.stringify(value)}`,
  trap: none,
  compile(values) {
    const ports = new Set(values.map(Number));
    return facts => ports.has(facts.request.destinationPort);
  },
  patterns: none,
};

/** Every attribute that has a fixed name; the names are Istio's `when` keys, and those of `to` fields that have none. */
export const attributes = {
  'source.principal': textAttribute(facts => facts.request.principal, {
    ofPeer: true,
    dimension: 'principal',
    parse: (value, scope) => parseTextMatch(inTrustDomain(value, scope.trustDomain)),
    problem: value =>
      value.startsWith('spiffe://')
        ? 'a principal is written without "spiffe://", as <trust domain>/ns/<ns>/sa/<sa>'
        : undefined,
    trap: principalTrap,
  }),
  'source.namespace': textAttribute(facts => facts.namespace, {
    ofPeer: true,
    dimension: 'namespace',
    parse: parseNamespace,
    // each one more may cost a mismatch another walk through the name
    problem: value =>
      value.split('*').length > 4 ? `expected at most 3 "*", got ${JSON.stringify(value)}` : undefined,
    trap: none,
  }),
  'source.serviceAccount': textAttribute(facts => facts.account, {
    ofPeer: true,
    dimension: 'account',
    parse: (value, { namespace }) => ({
      kind: 'exact',
      text: value.includes('/') ? value : `${namespace}/${value}`,
      ignoreCase: false,
    }),
    problem: value =>
      /^[^*/]+(\/[^*/]+)?$/.test(value)
        ? undefined
        : `expected <service account> or <namespace>/<service account> without "*", got ${JSON.stringify(value)}`,
  }),
  'source.trustDomain': textAttribute(facts => facts.trustDomain, {
    ofPeer: true,
    problem: value => (value.includes('/') ? `expected a trust domain, got ${JSON.stringify(value)}` : undefined),
  }),
  'source.ip': addressAttribute(facts => facts.sourceAddress, 'sourceIp'),
  'remote.ip': addressAttribute(facts => facts.remoteAddress, 'remoteIp'),
  'destination.ip': addressAttribute(facts => facts.destinationAddress, 'destinationIp'),
  'destination.port': port,
  'connection.sni': textAttribute(facts => facts.request.serverName, { reading: 'serverName' }),
  'request.auth.principal': requestPrincipal,
  'request.auth.audiences': claimAttribute(['aud']),
  'request.auth.presenter': claimAttribute(['azp']),
  host: textAttribute(facts => facts.host, {
    httpOnly: true,
    reading: 'host',
    dimension: 'host',
    parse: value => presentOrText(value, true),
  }),
  method: textAttribute(facts => facts.request.method, {
    httpOnly: true,
    parse: value => presentOrText(value),
    trap: value =>
      value === value.toUpperCase()
        ? innerStar(value)
        : `methods are written in capitals: ${JSON.stringify(value)} never matches`,
  }),
  path: textAttribute(facts => facts.path, {
    httpOnly: true,
    dimension: 'path',
    parse: parsePath,
    problem(value) {
      const template = isPathTemplate(value) ? parsePathTemplate(value) : undefined;
      return template !== undefined && 'reason' in template ? template.reason : undefined;
    },
    trap: pathTrap,
  }),
} as const satisfies Record<string, Attribute>;

function none(): undefined {
  return undefined;
}

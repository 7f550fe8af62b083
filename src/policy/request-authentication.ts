import { Buffer } from 'node:buffer';
import type { Findings, PolicyOf } from '../model/document.ts';
import type { WorkloadIdentity } from '../model/policy.ts';
import type { JwtRule } from '../model/request-authentication.ts';
import { selects } from '../model/selector.ts';
import { isKeySet, type KeySet, readKeySet } from './key-set.ts';

type RequestAuthentication = PolicyOf<'RequestAuthentication'>;

/** One issuer whose tokens are taken. */
export interface TokenRule {
  readonly issuer: string;
  /** Empty: a token may be for anybody. */
  readonly audiences: readonly string[];
  /** Undefined while they were never fetched: no token can be verified then. */
  readonly keys: KeySet | undefined;
  /** Claims that are lists written as one text, beside `scope` and `permission`. */
  readonly spaceDelimited: readonly string[];
  /** Does the application get the token too? */
  readonly forward: boolean;
  /** In lower case. */
  readonly payloadHeader: string | undefined;
  readonly claimHeaders: readonly { readonly header: string; readonly claim: string }[];
}

/** Where a token may be, and the rules that look there. */
export type TokenPlace = { readonly rules: readonly TokenRule[] } & (
  | {
      readonly kind: 'header';
      /** In lower case, as bytes. */
      readonly name: Uint8Array;
      readonly prefix: string;
      /** The scheme of `Authorization` is written in any case (RFC 9110 section 11.1). */
      readonly isScheme: boolean;
    }
  | { readonly kind: 'param' | 'cookie'; readonly name: string }
);

/** What the RequestAuthentications of one workload ask of a request. */
export interface TokenRules {
  readonly places: readonly TokenPlace[];
  /** Headers that the proxy alone may write, in lower case: a client's own are dropped. */
  readonly outputs: ReadonlySet<string>;
}

/** One revision of all RequestAuthentications: a value that is swapped whole. */
export interface CompiledRequestAuthentication {
  /** Undefined when none selects the workload; the same object for the same identity. */
  forWorkload(workload: WorkloadIdentity): TokenRules | undefined;
}

export const noRequestAuthentication: CompiledRequestAuthentication = { forWorkload: () => undefined };

/** All that select a workload hold together, as in Istio. `keysAt` gives what the master fetched from a `jwksUri`. */
export function compileRequestAuthentication(
  documents: readonly RequestAuthentication[],
  rootNamespace: string,
  keysAt: (uri: string) => KeySet | undefined,
): CompiledRequestAuthentication {
  if (documents.length === 0) return noRequestAuthentication;
  const all = documents.map(document => ({ document, rules: document.spec.jwtRules.map(rule => read(rule, keysAt)) }));
  const kept = new WeakMap<WorkloadIdentity, TokenRules | 'none'>();
  return {
    forWorkload(workload) {
      let known = kept.get(workload);
      if (known === undefined) {
        const rules = all.flatMap(({ document, rules }) => (selects(document, workload, rootNamespace) ? rules : []));
        known = rules.length === 0 ? 'none' : assemble(rules);
        kept.set(workload, known);
      }
      return known === 'none' ? undefined : known;
    },
  };
}

interface Read extends TokenRule {
  readonly at: readonly { readonly key: string; readonly place: PlaceAlone }[];
}
type PlaceAlone = TokenPlace extends infer Place ? (Place extends TokenPlace ? Omit<Place, 'rules'> : never) : never;

function read(rule: JwtRule, keysAt: (uri: string) => KeySet | undefined): Read {
  return {
    issuer: rule.issuer,
    audiences: rule.audiences,
    keys: keysOf(rule, keysAt),
    spaceDelimited: rule.spaceDelimitedClaims,
    forward: rule.forwardOriginalToken,
    payloadHeader: rule.outputPayloadToHeader?.toLowerCase(),
    claimHeaders: rule.outputClaimToHeaders.map(({ header, claim }) => ({ header: header.toLowerCase(), claim })),
    at: placesOf(rule),
  };
}

function keysOf({ jwks, jwksUri }: JwtRule, keysAt: (uri: string) => KeySet | undefined): KeySet | undefined {
  if (jwks === undefined) return jwksUri === undefined ? undefined : keysAt(jwksUri);
  const keys = readKeySet(jwks);
  return isKeySet(keys) ? keys : undefined;
}

/** Istio's two places, unless the rule names others. */
function placesOf({ fromHeaders, fromParams, fromCookies }: JwtRule): Read['at'] {
  const headers = fromHeaders.map(({ name, prefix }) => headerPlace(name.toLowerCase(), prefix));
  const params = fromParams.map(name => ({ key: `param ${name}`, place: { kind: 'param', name } as const }));
  const cookies = fromCookies.map(name => ({ key: `cookie ${name}`, place: { kind: 'cookie', name } as const }));
  const named = [...headers, ...params, ...cookies];
  if (named.length > 0) return named;
  return [
    headerPlace('authorization', 'Bearer '),
    { key: 'param access_token', place: { kind: 'param', name: 'access_token' } },
  ];
}

function headerPlace(name: string, written: string): Read['at'][number] {
  const isScheme = name === 'authorization' && written.endsWith(' ');
  const prefix = isScheme ? written.toLowerCase() : written;
  const place = { kind: 'header', name: Buffer.from(name, 'latin1'), prefix, isScheme } as const;
  return { key: `header ${name} ${prefix}`, place };
}

function assemble(rules: readonly Read[]): TokenRules {
  const places = new Map<string, { readonly place: PlaceAlone; readonly rules: TokenRule[] }>();
  const outputs = new Set<string>();
  for (const { at, ...rule } of rules) {
    for (const { key, place } of at) {
      const known = places.get(key) ?? { place, rules: [] };
      places.set(key, known);
      known.rules.push(rule);
    }
    const headers = [
      ...rule.claimHeaders.map(({ header }) => header),
      ...(rule.payloadHeader ? [rule.payloadHeader] : []),
    ];
    for (const header of headers) outputs.add(header);
  }
  return { places: [...places.values()].map(({ place, rules }) => ({ ...place, rules })), outputs };
}

/** What its shape does not say. `servesTcp` tells that a workload it selects has a TCP port. */
export function checkRequestAuthentication(
  { spec }: RequestAuthentication,
  { servesTcp }: { readonly servesTcp: boolean },
): Findings {
  const errors = spec.jwtRules.flatMap(({ jwks }, i) => {
    const keys = jwks === undefined ? [] : readKeySet(jwks);
    return isKeySet(keys) ? [] : [`spec.jwtRules[${i}].jwks: ${keys.reason}`];
  });
  const warnings: string[] = [];
  if (spec.jwtRules.length === 0) warnings.push('spec.jwtRules: there are none, so the policy asks nothing of anybody');
  if (servesTcp) {
    warnings.push(
      'spec.selector: selects a workload with a TCP port, whose connections carry no token that could be read',
    );
  }
  return { errors, warnings };
}

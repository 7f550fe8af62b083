import { type CryptoKey, createLocalJWKSet, decodeJwt, errors, type JWTPayload, jwtVerify } from 'jose';
import { minuteMs } from '../../base/clock.ts';
import { withLists } from '../../policy/claims.ts';
import type { TokenRule } from '../../policy/request-authentication.ts';
import type { TokenFailure } from './refusals.ts';

/** A token that a rule vouches for. Times are milliseconds since 1970, with the skew that clocks are granted. */
export interface VerifiedToken {
  readonly rule: TokenRule;
  readonly claims: JWTPayload;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** By so much the clocks of issuer and node may differ; Envoy's default. */
export const clockSkewMs = minuteMs;
/** With a secret of both sides anybody who verifies could make tokens; `none` needs no key at all. */
const algorithms = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];
/** Of a set, for a token that does not say which key it is signed with. */
const maxKeysTried = 16;

type KeySource = ReturnType<typeof createLocalJWKSet>;
const sources = new WeakMap<TokenRule, KeySource>();

/** Verifies a token by the first of `rules` that vouches for it; `now` is undefined while the time is not known. Never rejects. */
export async function verifyToken(
  token: string,
  rules: readonly TokenRule[],
  now: number | undefined,
): Promise<VerifiedToken | TokenFailure> {
  const said = claimsOf(token);
  if (said === undefined) return 'malformed';
  const timed = said.exp !== undefined || said.nbf !== undefined;
  let failure: TokenFailure = 'issuer';
  for (const rule of rules) {
    if (rule.issuer !== said.iss) continue;
    if (rule.keys === undefined) failure = 'keys';
    else if (timed && now === undefined) failure = 'clock';
    else {
      const verified = await verifyBy(rule, token, now ?? 0);
      if (typeof verified !== 'string') return verified;
      failure = verified;
    }
  }
  return failure;
}

function claimsOf(token: string): JWTPayload | undefined {
  try {
    return decodeJwt(token);
  } catch {
    return undefined;
  }
}

async function verifyBy(rule: TokenRule, token: string, now: number): Promise<VerifiedToken | TokenFailure> {
  const options = {
    algorithms,
    issuer: rule.issuer,
    ...(rule.audiences.length > 0 && { audience: [...rule.audiences] }),
    clockTolerance: clockSkewMs / 1000,
    currentDate: new Date(now),
  };
  const verify = async (key: Parameters<typeof jwtVerify>[1] | KeySource) => {
    const { payload } = await (typeof key === 'function'
      ? jwtVerify(token, key, options)
      : jwtVerify(token, key, options));
    const { exp, nbf } = payload;
    return {
      rule,
      claims: withLists(payload, rule.spaceDelimited),
      notBefore: nbf === undefined ? 0 : nbf * 1000 - clockSkewMs,
      notAfter: exp === undefined ? Number.POSITIVE_INFINITY : exp * 1000 + clockSkewMs,
    };
  };
  try {
    return await verify(sourceOf(rule));
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) return failureOf(error);
    return verifyByAny(error, verify);
  }
}

async function verifyByAny(
  keys: AsyncIterable<CryptoKey>,
  verify: (key: CryptoKey) => Promise<VerifiedToken>,
): Promise<VerifiedToken | TokenFailure> {
  let tried = 0;
  for await (const key of keys) {
    try {
      return await verify(key);
    } catch (error) {
      const failure = failureOf(error);
      if (failure !== 'signature' || ++tried === maxKeysTried) return failure;
    }
  }
  return 'signature';
}

function sourceOf(rule: TokenRule): KeySource {
  const known = sources.get(rule);
  if (known !== undefined) return known;
  const source = createLocalJWKSet({ keys: (rule.keys ?? []).map(key => ({ ...key, kty: key.kty ?? '' })) });
  sources.set(rule, source);
  return source;
}

function failureOf(error: unknown): TokenFailure {
  if (error instanceof errors.JWTExpired) return 'expired';
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.claim === 'aud' ? 'audience' : error.claim === 'nbf' ? 'early' : 'malformed';
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) return 'signature';
  if (error instanceof errors.JOSEAlgNotAllowed) return 'algorithm';
  if (error instanceof errors.JWKSNoMatchingKey) return 'key';
  if (error instanceof errors.JOSENotSupported) return 'algorithm';
  return 'malformed';
}

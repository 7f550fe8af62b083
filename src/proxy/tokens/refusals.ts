import { type LocalAnswer, makeAnswer } from '../respond.ts';

/** Why a request's token does not count. */
export type TokenFailure =
  | 'malformed'
  | 'too-large'
  | 'algorithm'
  | 'issuer'
  | 'audience'
  | 'expired'
  | 'early'
  | 'key'
  | 'signature'
  | 'keys'
  | 'clock'
  | 'busy';

/** Status and text as in Envoy's filter (jwt_authn/filter.cc) and its library (jwt_verify_lib/status.h), where these know the case. */
const said: Readonly<Record<TokenFailure, readonly [status: number, text: string]>> = {
  malformed: [401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
  'too-large': [401, 'Jwt is too large'],
  algorithm: [401, 'Jwt header [alg] is not supported'],
  issuer: [401, 'Jwt issuer is not configured'],
  audience: [403, 'Audiences in Jwt are not allowed'],
  expired: [401, 'Jwt is expired'],
  early: [401, 'Jwt not yet valid'],
  key: [401, "Jwks doesn't have key to match kid or alg from Jwt"],
  signature: [401, 'Jwt verification fails'],
  keys: [401, 'Jwks remote fetch is failed'],
  clock: [401, 'Jwt cannot be judged: this node does not know the time yet'],
  busy: [503, 'too many tokens are being verified'],
};

/** The answer to a request with such a token; `url` is what was asked for, which Envoy names as the realm. */
export function answerToken(failure: TokenFailure, url: string): LocalAnswer {
  const [status, text] = said[failure];
  if (status === 503) return makeAnswer(status, text, 'UO', 'x-envoy-overloaded: true\r\n');
  const realm = url.replace(/["\\]/g, '\\$&');
  return makeAnswer(status, text, '-', `www-authenticate: Bearer realm="${realm}", error="invalid_token"\r\n`);
}

import * as v from 'valibot';
import { secondMs } from '../base/clock.ts';
import { durationSchema } from './duration.ts';
import { selectorSchema, targetAdvice } from './selector.ts';

// Shape of Istio's security.istio.io/v1 (istio/api security/v1beta1/request_authentication.proto). The meaning is in policy/.

/** A JWKS, inline or fetched: its text may have as many bytes. */
export const maxKeySetBytes = 64 * 1024;
/** The longest that an operator may set for the fetch of a JWKS. */
const mostTimeoutMs = 30 * secondMs;

const word = v.pipe(v.string(), v.minLength(1, 'expected a text that is not empty'), v.maxLength(2048));
const words = v.optional(v.pipe(v.array(word), v.maxLength(64)), []);
const headerName = v.pipe(
  v.string(),
  v.regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/, 'expected the name of a header'),
  v.check(name => !ownHeaders.has(name.toLowerCase()), 'the proxy writes this header itself: use another name'),
);
/** What frames a message, or says who calls. */
const ownHeaders: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'x-forwarded-client-cert',
  'x-request-id',
]);

const keysUri = v.pipe(
  word,
  v.check(text => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    return url?.protocol === 'https:' && url.username === '' && url.password === '' && url.hash === '';
  }, 'expected an https:// address without user, password and fragment: keys that come over plain HTTP are anybody’s'),
);

const jwtRuleSchema = v.pipe(
  v.strictObject({
    issuer: word,
    audiences: words,
    jwks: v.optional(v.pipe(v.string(), v.maxBytes(maxKeySetBytes, `expected at most ${maxKeySetBytes} bytes`))),
    jwksUri: v.optional(keysUri),
    fromHeaders: v.optional(
      v.pipe(
        v.array(v.strictObject({ name: headerName, prefix: v.optional(v.pipe(v.string(), v.maxLength(256)), '') })),
        v.maxLength(16),
      ),
      [],
    ),
    fromParams: v.optional(v.pipe(v.array(word), v.maxLength(16)), []),
    fromCookies: v.optional(v.pipe(v.array(word), v.maxLength(16)), []),
    outputPayloadToHeader: v.optional(headerName),
    outputClaimToHeaders: v.optional(
      v.pipe(v.array(v.strictObject({ header: headerName, claim: word })), v.maxLength(64)),
      [],
    ),
    forwardOriginalToken: v.optional(v.boolean(), false),
    timeout: v.optional(
      v.pipe(durationSchema, v.minValue(1, 'expected more than 0s'), v.maxValue(mostTimeoutMs, 'expected at most 30s')),
      '5s',
    ),
    spaceDelimitedClaims: words,
  }),
  v.check(
    ({ jwks, jwksUri }) => (jwks === undefined) !== (jwksUri === undefined),
    'expected one of jwks and jwksUri: keys are not looked for at the issuer; its <issuer>/.well-known/openid-configuration names the jwks_uri',
  ),
  v.check(
    ({ outputClaimToHeaders, outputPayloadToHeader: payload }) =>
      hasNoTwins([...outputClaimToHeaders.map(({ header }) => header), ...(payload === undefined ? [] : [payload])]),
    'outputClaimToHeaders: expected another header for each, and none of them for the payload',
  ),
);

export const requestAuthenticationSpecSchema = v.strictObject({
  selector: selectorSchema,
  targetRefs: targetAdvice,
  targetRef: targetAdvice,
  jwtRules: v.optional(v.pipe(v.array(jwtRuleSchema), v.maxLength(64)), []),
});

export type RequestAuthenticationSpec = v.InferOutput<typeof requestAuthenticationSpecSchema>;
export type JwtRule = RequestAuthenticationSpec['jwtRules'][number];

function hasNoTwins(names: readonly string[]): boolean {
  return new Set(names.map(name => name.toLowerCase())).size === names.length;
}

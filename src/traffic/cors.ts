import type { CorsPolicySpec } from '../model/virtual-service.ts';
import { compileTextTest, passes, type RegexCompiler, type TextTest } from './text-test.ts';

/** A corsPolicy, ready to be asked (Envoy's CORS filter). */
export interface CorsPolicy {
  readonly origins: readonly TextTest[];
  /** Header lines behind the origin's of an answer to a preflight request, and of any other. */
  readonly preflightLines: string;
  readonly responseLines: string;
  /** What becomes of a preflight request whose origin is not allowed: it goes on as any request, or is answered without a word of CORS. */
  readonly forwardsUnmatched: boolean;
}

export function compileCors(spec: CorsPolicySpec, regex: RegexCompiler): CorsPolicy {
  const { allowOrigins, allowMethods, allowHeaders, exposeHeaders, maxAge, allowCredentials } = spec;
  const credentials = allowCredentials ? 'access-control-allow-credentials: true\r\n' : '';
  const list = (name: string, words: readonly string[] | undefined) =>
    words === undefined || words.length === 0 ? '' : `${name}: ${words.join(',')}\r\n`;
  return {
    origins: allowOrigins.map(origin => compileTextTest(origin, regex)),
    preflightLines:
      credentials +
      list('access-control-allow-methods', allowMethods) +
      list('access-control-allow-headers', allowHeaders) +
      (maxAge === undefined ? '' : `access-control-max-age: ${Math.floor(maxAge / 1000)}\r\n`),
    responseLines: credentials + list('access-control-expose-headers', exposeHeaders),
    forwardsUnmatched: spec.unmatchedPreflights !== 'IGNORE',
  };
}

/** May a page of `origin` read the answer? As in Envoy, an exact `*` stands for every origin. */
export function allowsOrigin(policy: CorsPolicy, origin: string): boolean {
  return policy.origins.some(test => passes(test, origin) || (test.kind === 'exact' && test.text === '*'));
}

/** The header lines that let a page of `origin` read the answer. */
export function allowLines(origin: string, lines: string): string {
  return `access-control-allow-origin: ${origin}\r\n${lines}`;
}

import { Buffer } from 'node:buffer';
import type { WorkloadIdentity } from '../model/policy.ts';
import type { HttpMatch, StringMatch } from '../model/virtual-service.ts';
import { compileTextTest, passes, type RegexCompiler, type TextTest } from './text-test.ts';

/** What routes are chosen by. The object may be used for request after request. */
export interface RouteRequest {
  readonly method: string;
  /** As it came, with its port if it has one. */
  readonly authority: string;
  /** The authority's port, 80 where it has none. */
  readonly port: number;
  /** As it came, without query. */
  readonly path: string;
  /** With its `?`; empty when there is none. */
  readonly query: string;
  /** The value of the header with this lower-case name, given as bytes; several joined by a comma. */
  header(name: Uint8Array): string | undefined;
}

interface NamedTest {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly test: TextTest;
}

/** One item of a route's `match`: all of it must hold. */
export interface Condition {
  readonly uri: TextTest | undefined;
  readonly scheme: TextTest | undefined;
  readonly method: TextTest | undefined;
  readonly authority: TextTest | undefined;
  readonly headers: readonly NamedTest[];
  readonly withoutHeaders: readonly NamedTest[];
  readonly queryParams: readonly NamedTest[];
  /** 0 for any. */
  readonly port: number;
  readonly sourceLabels: Readonly<Record<string, string>>;
  readonly sourceNamespace: string | undefined;
}

/** All calls that tasks make by HTTP_PROXY are of this scheme. */
const scheme = 'http';

export function compileCondition(match: HttpMatch, regex: RegexCompiler): Condition {
  const optional = (part: StringMatch | undefined, ignoreCase = false) =>
    part === undefined ? undefined : compileTextTest(part, regex, ignoreCase);
  return {
    uri: optional(match.uri, match.ignoreUriCase),
    scheme: optional(match.scheme),
    method: optional(match.method),
    authority: optional(match.authority),
    headers: compileNamed(match.headers, regex),
    withoutHeaders: compileNamed(match.withoutHeaders, regex),
    queryParams: compileNamed(match.queryParams, regex, name => name),
    port: match.port ?? 0,
    sourceLabels: match.sourceLabels ?? {},
    sourceNamespace: match.sourceNamespace,
  };
}

function compileNamed(
  matches: Readonly<Record<string, StringMatch>> | undefined,
  regex: RegexCompiler,
  fold = (name: string) => name.toLowerCase(),
): NamedTest[] {
  return Object.entries(matches ?? {}).map(([given, match]) => {
    const name = fold(given);
    return { name, bytes: Buffer.from(name, 'latin1'), test: compileTextTest(match, regex) };
  });
}

/** Can a condition hold for any request of this caller? */
export function concerns(condition: Condition, { namespace, labels }: WorkloadIdentity): boolean {
  if (condition.sourceNamespace !== undefined && condition.sourceNamespace !== namespace) return false;
  return Object.entries(condition.sourceLabels).every(([name, value]) => labels[name] === value);
}

/** Does a condition that concerns the caller hold for its request? */
export function holds(condition: Condition, request: RouteRequest): boolean {
  if (condition.uri !== undefined && !passes(condition.uri, request.path)) return false;
  if (condition.method !== undefined && !passes(condition.method, request.method)) return false;
  if (condition.authority !== undefined && !passes(condition.authority, request.authority)) return false;
  if (condition.port !== 0 && condition.port !== request.port) return false;
  if (condition.scheme !== undefined && !passes(condition.scheme, scheme)) return false;
  return (
    (condition.headers.length === 0 || haveHeaders(condition.headers, request)) &&
    (condition.withoutHeaders.length === 0 || !haveAnyHeader(condition.withoutHeaders, request)) &&
    (condition.queryParams.length === 0 || haveParameters(condition.queryParams, request))
  );
}

function haveHeaders(tests: readonly NamedTest[], request: RouteRequest): boolean {
  for (const { bytes, test } of tests) if (!passes(test, request.header(bytes))) return false;
  return true;
}

function haveAnyHeader(tests: readonly NamedTest[], request: RouteRequest): boolean {
  for (const { bytes, test } of tests) if (passes(test, request.header(bytes))) return true;
  return false;
}

function haveParameters(tests: readonly NamedTest[], request: RouteRequest): boolean {
  for (const { name, test } of tests) if (!passes(test, parameterOf(request.query, name))) return false;
  return true;
}

/** The value of the first parameter of that name as it came, without decoding, as in Envoy; empty where it has no `=`. */
export function parameterOf(query: string, name: string): string | undefined {
  let from = 1;
  while (from < query.length) {
    const next = query.indexOf('&', from);
    const end = next < 0 ? query.length : next;
    const equals = query.indexOf('=', from);
    const nameEnd = equals < 0 || equals > end ? end : equals;
    if (nameEnd - from === name.length && query.startsWith(name, from)) return query.slice(nameEnd + 1, end);
    from = end + 1;
  }
  return undefined;
}

import type { StringMatch } from '../model/virtual-service.ts';

/** A regular expression in RE2's syntax, matched in linear time. */
export interface Regex {
  /** Does it match the whole text? */
  matches(text: string): boolean;
  /**
   * `text` with each match replaced; `\1` … `\9` in `replacement` stand for groups. Undefined when the result would be longer than
   * `maxLength`.
   */
  replaceAll(text: string, replacement: string, maxLength: number): string | undefined;
}

/** Throws INVALID_INPUT for what is no regular expression, or too large a one. */
export type RegexCompiler = (pattern: string) => Regex;

/** One StringMatch, ready to be asked. */
export interface TextTest {
  readonly kind: 'exact' | 'prefix' | 'regex' | 'present';
  /** In lower case when case is ignored. */
  readonly text: string;
  readonly ignoreCase: boolean;
  readonly regex: Regex | undefined;
}

/** `ignoreCase` speaks of exact and prefix only, as in Istio. */
export function compileTextTest(match: StringMatch, regex: RegexCompiler, ignoreCase = false): TextTest {
  const fold = (text: string) => (ignoreCase ? text.toLowerCase() : text);
  if (match.exact !== undefined) return { kind: 'exact', text: fold(match.exact), ignoreCase, regex: undefined };
  if (match.prefix !== undefined) return { kind: 'prefix', text: fold(match.prefix), ignoreCase, regex: undefined };
  if (match.regex === undefined) return { kind: 'present', text: '', ignoreCase, regex: undefined };
  return { kind: 'regex', text: match.regex, ignoreCase: false, regex: regex(match.regex) };
}

/** An absent value (undefined) passes no test. */
export function passes(test: TextTest, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (test.kind) {
    case 'exact':
      return (test.ignoreCase ? value.toLowerCase() : value) === test.text;
    case 'prefix':
      return test.ignoreCase
        ? value.slice(0, test.text.length).toLowerCase() === test.text
        : value.startsWith(test.text);
    case 'regex':
      return test.regex?.matches(value) === true;
    case 'present':
      return true;
    default:
      return test.kind satisfies never;
  }
}

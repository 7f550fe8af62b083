import { RE2JS } from 're2js';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Regex } from './text-test.ts';

// Loaded only where a policy has a regular expression: the engine takes 2 MB.

/** RE2 needs time in proportion to the text and to this, whatever the pattern: a request head of 16 KiB takes 0.2 s at the very worst. */
export const maxProgramSize = 256;

/** Compiles RE2's syntax; throws INVALID_INPUT. */
export function compileRegex(pattern: string): Regex {
  const regex = parse(pattern);
  if (regex.programSize() > maxProgramSize) {
    throw new MesoliteError(
      'INVALID_INPUT',
      `the regular expression ${JSON.stringify(pattern.slice(0, 80))} is too large: it compiles to ${regex.programSize()} instructions, at most ${maxProgramSize} are taken`,
    );
  }
  return {
    matches: text => regex.testExact(text),
    replaceAll: (text, replacement, maxLength) => replaceAll(regex, text, replacement, maxLength),
  };
}

function parse(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', `not a regular expression of RE2: ${messageOf(cause)}`, { cause });
  }
}

function replaceAll(regex: RE2JS, text: string, replacement: string, maxLength: number): string | undefined {
  const matcher = regex.matcher(text);
  let result = '';
  let from = 0;
  while (matcher.find()) {
    result += text.slice(from, matcher.start());
    for (const [part, group] of replacement.matchAll(/\\(\d)|\\\\|[^\\]+/g)) {
      if (group !== undefined)
        result += Number(group) <= matcher.groupCount() ? (matcher.group(Number(group)) ?? '') : '';
      else result += part === '\\\\' ? '\\' : part;
      if (result.length > maxLength) return undefined;
    }
    from = matcher.end();
  }
  result += text.slice(from);
  return result.length > maxLength ? undefined : result;
}

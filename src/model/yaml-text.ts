import { type Document, isScalar, LineCounter, parseAllDocuments } from 'yaml';
import { MesoliteError, messageOf } from '../base/errors.ts';

/** A text that is longer is not read: the parser takes about a second for each of these. */
export const maxYamlBytes = 1024 * 1024;

/** So many aliases of one document are followed: a few lines may not grow into gigabytes. */
const maxAliases = 100;

/** Beyond this many brackets open at once nothing is parsed: at hundreds of thousands the parser takes the process with it. */
const maxOpenBrackets = 1_000;

/** One document of a text, with the words that place it: `job.yaml`, or `job.yaml: document 2` where there are several. */
export interface YamlDocument {
  readonly what: string;
  readonly value: unknown;
}

/** The documents of a YAML (or JSON) text, empty ones left out; throws INVALID_INPUT with file, line and column. */
export function parseYaml(text: string, file: string): YamlDocument[] {
  if (openBrackets(text) > maxOpenBrackets) throw new MesoliteError('INVALID_INPUT', `${file}: nested too deeply`);
  const lines = new LineCounter();
  const parsed = guard(file, () => parseAllDocuments(text, { lineCounter: lines, prettyErrors: false }));
  const documents = [...parsed].filter(document => !isEmpty(document));
  return documents.map((document, index) => {
    const what = documents.length === 1 ? file : `${file}: document ${index + 1}`;
    // a warning is a tag that is not known: what it would have meant is lost
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) {
      const { line, col } = lines.linePos(problem.pos[0]);
      throw new MesoliteError(
        'INVALID_INPUT',
        `${file}: line ${line}, column ${col}: ${problem.message.split('\n')[0]}`,
      );
    }
    return { what, value: guard(what, () => document.toJS({ maxAliasCount: maxAliases }) as unknown) };
  });
}

/** Nothing between two `---`, or only a remark. */
function isEmpty({ contents, errors }: Document.Parsed): boolean {
  return errors.length === 0 && (contents === null || (isScalar(contents) && contents.value === null));
}

/** The parser throws by itself at too many aliases, and runs out of stack at tens of thousands of brackets. */
function guard<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    const why = cause instanceof RangeError ? 'nested too deeply' : messageOf(cause);
    throw new MesoliteError('INVALID_INPUT', `${what}: ${why}`, { cause });
  }
}

/** The most brackets that are open at one place, those in words counted too. */
function openBrackets(text: string): number {
  let open = 0;
  let most = 0;
  for (const [bracket] of text.matchAll(/[[\]{}]/g)) {
    open = bracket === '[' || bracket === '{' ? open + 1 : Math.max(0, open - 1);
    most = Math.max(most, open);
  }
  return most;
}

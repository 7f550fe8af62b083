import { Composer, type CST, type Document, isCollection, isScalar, Lexer, LineCounter, Parser, visit } from 'yaml';
import { isMesoliteError, MesoliteError, messageOf } from '../base/errors.ts';
import { yamlProblem } from './yaml-problem.ts';

/** A text that is longer is not read: the parser takes about a second for each of these. */
export const maxYamlBytes = 1024 * 1024;

/** So many aliases of one document are followed: a few lines may not grow into gigabytes. */
const maxAliases = 100;

/** Deeper than any document of ours, and than what the shapes of documents allow. */
const maxNesting = 100;

/** One document of a text, with the words that place it: `job.yaml`, or `job.yaml: document 2` where there are several. */
export interface YamlDocument {
  readonly what: string;
  readonly value: unknown;
}

/** The documents of a YAML (or JSON) text, empty ones left out; throws INVALID_INPUT with file, line and column. */
export function parseYaml(text: string, file: string): YamlDocument[] {
  const lines = new LineCounter();
  // what it would only warn of is refused below
  const composer = new Composer({ lineCounter: lines, prettyErrors: false, logLevel: 'error' });
  const parsed = guard(file, () => [...composer.compose(tokensOf(text, lines, file))]);
  const documents = parsed.filter(document => !isEmpty(document));
  return documents.map((document, index) => {
    const what = documents.length === 1 ? file : `${file}: document ${index + 1}`;
    // a warning is a tag that is not known: what it would have meant is lost
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problemAt(problem.pos[0], lines, file, yamlProblem(problem.message));
    refuseOddKeys(document, lines, file);
    return { what, value: guard(what, () => document.toJS({ maxAliasCount: maxAliases }) as unknown) };
  });
}

/**
 * The tokens of a text as `parseAllDocuments` would compose them, which calls itself at each level and can end the whole process where
 * the stack does; so it is judged here how deep they nest.
 */
function* tokensOf(text: string, lines: LineCounter, file: string): Generator<CST.Token> {
  const parser = new Parser(lines.addNewLine);
  lines.addNewLine(0);
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    if (parser.stack.length > maxNesting) {
      throw problemAt(parser.offset, lines, file, `nested deeper than ${maxNesting} levels`);
    }
  }
  yield* parser.end();
}

function problemAt(offset: number, lines: LineCounter, file: string, problem: string): MesoliteError {
  const { line, col } = lines.linePos(offset);
  return new MesoliteError('INVALID_INPUT', `${file}: line ${line}, column ${col}: ${problem}`);
}

/** A list or map in the place of a name would become its text. */
function refuseOddKeys(document: Document.Parsed, lines: LineCounter, file: string): void {
  visit(document, {
    Pair(_, { key }) {
      if (!isCollection(key)) return;
      throw problemAt(
        key.range?.[0] ?? 0,
        lines,
        file,
        'a list or map as the name of a field: put a text that begins with [ or { in quotes',
      );
    },
  });
}

/** Nothing between two `---`, or only a remark. */
function isEmpty({ contents, errors }: Document.Parsed): boolean {
  return errors.length === 0 && (contents === null || (isScalar(contents) && contents.value === null));
}

/** The parser throws by itself, as at too many aliases. */
function guard<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (isMesoliteError(cause)) throw cause;
    throw new MesoliteError('INVALID_INPUT', `${what}: ${yamlProblem(messageOf(cause))}`, { cause });
  }
}

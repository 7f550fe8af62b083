import { parseAllDocuments } from 'yaml';
import { MesoliteError } from '../base/errors.ts';

/** The documents of a YAML text, empty ones left out; throws INVALID_INPUT with line and column. */
export function parseYamlDocuments(text: string): unknown[] {
  const parsed = parseAllDocuments(text, { prettyErrors: true, uniqueKeys: true });
  if (!Array.isArray(parsed)) return [];
  return parsed
    .filter(document => document.contents !== null || document.errors.length > 0)
    .map((document, index) => {
      const [error] = document.errors;
      if (error !== undefined) {
        const [at] = error.linePos ?? [];
        const place = at === undefined ? '' : `line ${at.line}, column ${at.col}: `;
        throw new MesoliteError('INVALID_INPUT', `document ${index + 1}: ${place}${error.message.split('\n')[0]}`);
      }
      return toPlain(document);
    });
}

/** Aliases are counted: a few lines may not grow into gigabytes. */
function toPlain(document: { toJS(options: { maxAliasCount: number }): unknown }): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (cause) {
    throw new MesoliteError('INVALID_INPUT', 'YAML: too many aliases', { cause });
  }
}

const spaces = 'expected as many spaces before it as before its neighbours';
const colon = 'expected a field and its value as "name: value": a colon is missing, or spaces before the line';

/** How the parser begins what it says of a mistake, and what an operator should know: what is wrong, and what to do. */
const words: readonly (readonly [said: RegExp, meant: string])[] = [
  [/^Map keys must be unique/, 'a field that stands there already: keep one of the two'],
  [/^Tabs are not allowed/, 'a tab: indent with spaces'],
  [/^Missing closing (.)quote/, 'a text in quotes that never ends: add the closing $1'],
  [
    /^Nested mappings/,
    'a field in a value: put a text that has ": " in it in quotes, or mend the spaces of the next line',
  ],
  [/^Implicit (map )?keys/, colon],
  [/^All \w+ items must start at the same column|^A block sequence may not be/, spaces],
  [/^Flow .*must be sufficiently indented and end with a (.)/, 'a bracket that is not closed: add the closing $1'],
  [/^Missing ,/, 'expected a comma between what stands in brackets'],
  [/^Plain value cannot start with \D*(\S)$/, 'a text that begins with $1: put it in quotes'],
  [/cannot be an empty string$/, 'a * or & alone: put it in quotes, as "*"'],
  [/^Unresolved tag: (\S+)/, '$1 means nothing here: leave it out, or put the text in quotes'],
  [/^Unresolved alias .*: (.*)$/, 'nothing is called &$1: put a text that begins with * in quotes, as "*$1"'],
  [/^Excessive alias count/, 'aliases that grow to too much: write out what they stand for'],
  [
    /^Invalid escape sequence (.*)$/,
    'no such escape as $1: write \\\\ for a backslash, or put the text in single quotes',
  ],
  [/^Sequence item without/, 'expected "- " before each item of the list'],
  [
    /^Unexpected|^Block scalar header/,
    'not expected here: is there a quote, bracket or colon too many, or missing before it?',
  ],
];

/** One sentence on a mistake in YAML, from what the parser says of it. */
export function yamlProblem(message: string): string {
  const [first = ''] = message.split('\n');
  for (const [said, meant] of words) {
    const found = said.exec(first);
    if (found !== null) return meant.replaceAll('$1', () => found[1] ?? '');
  }
  return `not YAML: ${first}`;
}

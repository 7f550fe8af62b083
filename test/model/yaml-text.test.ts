import fc from 'fast-check';
import t from 'tap';
import { parseAllDocuments } from 'yaml';
import { isMesoliteError } from '../../src/base/errors.ts';
import { maxYamlBytes, parseYaml } from '../../src/model/yaml-text.ts';

const values = (text: string) => parseYaml(text, 'f').map(({ value }) => value);

t.test('the documents of a text are read, those of remarks alone left out', async t => {
  t.same(values('# one\n---\na: 1\n---\n# nothing\n---\n- x\n- { y: [z] }\n...\n'), [{ a: 1 }, ['x', { y: ['z'] }]]);
  t.same(values(''), []);
  t.same(values('{"a": [1, null]}'), [{ a: [1, null] }]);
  t.same(
    parseYaml('a: 1\n---\nb: 2\n', 'f').map(({ what }) => what),
    ['f: document 1', 'f: document 2'],
  );
  t.equal(parseYaml('a: 1', 'f')[0]?.what, 'f');
});

t.test('it is said where a text goes wrong', async t => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['a: 1\n\nb: [1', /^f: line 3, column 6: /],
    ['a: 1\na: 2', /^f: line 2, column 1: a field that stands there already: keep one of the two$/],
    ['a: !mine 1', /^f: line 1, column 4: !mine means nothing here: leave it out, or put the text in quotes$/],
    [
      'a: [*/ns/shop]',
      /^f: nothing is called &\/ns\/shop: put a text that begins with \* in quotes, as "\*\/ns\/shop"$/,
    ],
    ['a: [*]', /^f: line 1, column 5: a \* or & alone: put it in quotes, as "\*"$/],
    ['a:\n\tb: 1', /^f: line 2, column 1: a tab: indent with spaces$/],
    ['a:\n   b: 1\n  c: 2', /^f: line 3, column 1: expected as many spaces before it as before its neighbours$/],
    [
      'kind: Job\nname\nx: 1',
      /^f: line 2, column 1: expected a field and its value as "name: value": a colon is missing/,
    ],
    ['a: b: c', /^f: line 1, column 4: a field in a value: put a text that has ": " in it in quotes/],
    ['a: {x: 1', /^f: line \d, column \d: a bracket that is not closed: add the closing \}$/],
    ['a: "x', /^f: line 1, column 6: a text in quotes that never ends: add the closing "$/],
    ['a: @x', /^f: line 1, column 4: a text that begins with @: put it in quotes$/],
    ['? [a]\n: 1', /^f: line 1, column 3: a list or map as the name of a field/],
  ];
  for (const [text, message] of wrong) t.throws(() => values(text), { code: 'INVALID_INPUT', message });
});

t.test('however deep a text nests, it is refused before anything calls itself for each level', async t => {
  const half = maxYamlBytes / 2;
  const deep = [
    '['.repeat(maxYamlBytes),
    `${'['.repeat(half)}${']'.repeat(half)}`,
    '{a: '.repeat(maxYamlBytes / 4),
    '- '.repeat(half),
    '? '.repeat(half),
    '? - '.repeat(maxYamlBytes / 4),
    Array.from({ length: 1_400 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
  ];
  for (const text of deep) {
    t.throws(() => values(text), { code: 'INVALID_INPUT', message: /nested deeper than 100 levels/ }, text.slice(0, 8));
  }
  t.equal(values(`${'['.repeat(90)}${']'.repeat(90)}`).length, 1);
});

t.test('a few lines do not grow into gigabytes', async t => {
  const lines = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
  for (const [i, name] of [...'bcdefgh'].entries()) {
    lines.push(`${name}: &${name} [${Array(10).fill(`*${'abcdefgh'[i]}`).join(',')}]`);
  }
  t.throws(() => values(lines.join('\n')), { code: 'INVALID_INPUT', message: /^f: aliases that grow to too much/ });
});

t.test('whatever is read is what the parser alone reads', async t => {
  const piece = fc.constantFrom(
    'a',
    ': ',
    '- ',
    '\n',
    '  ',
    '[',
    ']',
    '{',
    '}',
    '|',
    '"',
    '---\n',
    '?',
    '#',
    ', ',
    '1',
  );
  const text = fc.array(piece, { maxLength: 30 }).map(pieces => pieces.join(''));
  let read = 0;
  fc.assert(
    fc.property(text, input => {
      let documents: unknown[];
      try {
        documents = values(input);
      } catch (error) {
        return isMesoliteError(error, 'INVALID_INPUT');
      }
      read += documents.length;
      const all = [...parseAllDocuments(input, { logLevel: 'error' })].map(document => document.toJS() as unknown);
      return JSON.stringify(documents) === JSON.stringify(all.filter(value => value !== null));
    }),
    { seed: 7, numRuns: 5_000 },
  );
  t.ok(read > 1_000, `${read} documents`);
});

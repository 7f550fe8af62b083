import fc from 'fast-check';
import t from 'tap';
import type { PathNormalization } from '../../src/model/policy.ts';
import { normalizePath } from '../../src/policy/normalize-path.ts';

const modes: readonly PathNormalization[] = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'];

t.test('dot segments are resolved as RFC 3986 has it', async t => {
  const cases: [string, string][] = [
    ['/', '/'],
    ['/.', '/'],
    ['/..', '/'],
    ['/a/.', '/a/'],
    ['/a/..', '/'],
    ['/a/b/..', '/a/'],
    ['/a/./b', '/a/b'],
    ['/a/../../b', '/b'],
    ['/a/b/c/./../../g', '/a/g'],
    ['/mid/content=5/../6', '/mid/6'],
    ['/a/...', '/a/...'],
    ['/a/.b', '/a/.b'],
    ['/a/..b/c', '/a/..b/c'],
    ['//..', '/'],
    ['/a\\..\\b', '/b'],
    ['/%2E%2e/a', '/a'],
    ['/.%2e/a', '/a'],
    ['/a/%2e', '/a/'],
  ];
  for (const [target, path] of cases) t.equal(normalizePath(target, 'BASE'), path, target);
});

t.test('query and fragment are cut in every mode, and nothing in them counts', async t => {
  for (const mode of modes) {
    t.equal(normalizePath('/a?b=/../%00', mode), '/a', mode);
    t.equal(normalizePath('/a#b?c', mode), '/a', mode);
    t.equal(normalizePath('/?', mode), '/', mode);
  }
});

t.test('what has no normal form is undefined', async t => {
  for (const mode of modes) {
    for (const target of ['', 'a', '?', 'http://host/a', '/a\0', '/a%00', '/%00?q', '../a', '**']) {
      t.equal(normalizePath(target, mode), undefined, `${mode} ${JSON.stringify(target)}`);
    }
    t.equal(normalizePath('*', mode), '*', 'the target of OPTIONS *');
  }
});

t.test('nothing is decoded twice, and a broken escape stays', async t => {
  t.equal(normalizePath('/%2541', 'BASE'), '/%2541');
  t.equal(normalizePath('/%2%65', 'BASE'), '/%2e');
  t.equal(normalizePath('/%', 'BASE'), '/%');
  t.equal(normalizePath('/%4', 'BASE'), '/%4');
  t.equal(normalizePath('/%zz', 'BASE'), '/%zz');
  t.equal(normalizePath('/%252f', 'DECODE_AND_MERGE_SLASHES'), '/%252f');
});

t.test('a normal form starts with "/", climbs nowhere, and is never longer', async () => {
  const piece = fc.constantFrom(
    '/',
    '/',
    '.',
    '..',
    '%2e',
    '%2F',
    '%5c',
    '\\',
    'a',
    'B',
    '%41',
    '?',
    '#',
    '%',
    '%25',
    ';',
  );
  const target = fc.array(piece, { maxLength: 20 }).map(pieces => `/${pieces.join('')}`);
  fc.assert(
    fc.property(target, fc.constantFrom(...modes), (target, mode) => {
      const path = normalizePath(target, mode);
      if (path === undefined || !path.startsWith('/') || /[?#]/.test(path)) throw new Error(`${path}`);
      if (path.length > target.length) throw new Error('longer');
      if (mode === 'NONE') return;
      if (path.includes('\\') || path.split('/').some(part => part === '.' || part === '..')) throw new Error(path);
      if (mode !== 'BASE' && path.includes('//')) throw new Error(path);
      if (mode === 'DECODE_AND_MERGE_SLASHES' && /%2f|%5c/i.test(path) && !/%25|%2%|%5%|%%/.test(target))
        throw new Error(path);
    }),
    { seed: 6, numRuns: 5000 },
  );
});

t.test('dot segments go as a resolver of URLs does it', async () => {
  const piece = fc.constantFrom('.', '..', 'a', 'b', '%2e', '%2E.');
  const target = fc.array(piece, { minLength: 1, maxLength: 10 }).map(pieces => `/${pieces.join('/')}`);
  fc.assert(
    fc.property(target, target => {
      const expected = new URL(`http://host${target}`).pathname;
      const path = normalizePath(target, 'BASE');
      if (path !== expected) throw new Error(`${target}: ${path}, expected ${expected}`);
    }),
    { seed: 7, numRuns: 2000 },
  );
});

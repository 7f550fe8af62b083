import fc from 'fast-check';
import t from 'tap';
import { compileRegex } from '../../src/traffic/regex.ts';

t.test('an expression has to match the whole text', async t => {
  const regex = compileRegex('/v[0-9]+');
  t.ok(regex.matches('/v12'));
  t.notOk(regex.matches('/v12/'));
  t.notOk(regex.matches('x/v12'));
  t.ok(compileRegex('(?i)jason.*').matches('JASON b'));
});

t.test('what backtracking engines choke on takes no time to speak of', async t => {
  // each of these takes a backtracking engine longer than the universe is old: that the test ends is the proof
  for (const pattern of ['(a+)+b', '(a|aa)*c', '(.*a){12}b', '^(([a-z])+.)+[A-Z]([a-z])+$']) {
    t.notOk(compileRegex(pattern).matches('a'.repeat(16_000)), pattern);
  }
});

t.test('it agrees with JavaScript where both mean the same', async () => {
  const piece = fc.constantFrom('a', 'b', '.', '[ab]', '(a|b)', '(?:ab)', 'a*', 'b+', 'a?', '[^a]', 'a{2}', '(ab|a)*');
  const pattern = fc.array(piece, { minLength: 1, maxLength: 6 }).map(pieces => pieces.join(''));
  const text = fc.array(fc.constantFrom('a', 'b', 'c'), { maxLength: 8 }).map(letters => letters.join(''));
  fc.assert(
    fc.property(pattern, text, (source, given) => {
      if (compileRegex(source).matches(given) !== new RegExp(`^(?:${source})$`).test(given)) throw new Error(source);
    }),
    { numRuns: 2000, seed: 5 },
  );
});

t.test('replacements know groups and a backslash, and are bounded', async t => {
  const replace = (pattern: string, text: string, replacement: string, max = 100) =>
    compileRegex(pattern).replaceAll(text, replacement, max);
  t.equal(replace('^/v([0-9]+)/(.*)$', '/v1/users', '/\\2/\\1'), '/users/1');
  t.equal(replace('a', 'banana', 'o'), 'bonono');
  t.equal(replace('(x)?a', 'a', '[\\1\\9\\\\]'), '[\\]');
  t.equal(replace('a', 'xyz', 'o'), 'xyz');
  t.equal(replace('a', 'a', '$1 $&'), '$1 $&');
  t.equal(replace('', 'ab', '-'), '-a-b-');
  t.equal(replace('a', 'a'.repeat(50), 'bbb'), undefined);
});

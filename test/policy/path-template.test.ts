import t from 'tap';
import { isPathTemplate, parsePathTemplate } from '../../src/policy/path-template.ts';

function matches(template: string, path: string): boolean {
  const pattern = parsePathTemplate(template);
  return pattern instanceof RegExp && pattern.test(path);
}

t.test('only a path with an operator is a template', async t => {
  for (const path of ['/{*}', '/a/{**}', '{*}']) t.equal(isPathTemplate(path), true, path);
  for (const path of ['/a*', '/{a}', '/{}', '/**']) t.equal(isPathTemplate(path), false, path);
});

t.test('{*} is one segment, {**} any number of them: Istio’s own examples', async t => {
  const cases: [string, string, boolean][] = [
    ['/foo/{*}', '/foo/bar', true],
    ['/foo/{*}', '/foo/bar/baz', false],
    ['/foo/{*}', '/foo/', false],
    ['/foo/{**}/', '/foo/bar/', true],
    ['/foo/{**}/', '/foo//', true],
    ['/foo/{**}/', '/foo/bar', false],
    ['/foo/{**}', '/foo/', true],
    ['/foo/{**}', '/foo', false],
    ['/foo/{*}/bar/{**}', '/foo/buzz/bar/', true],
    ['/foo/{*}/bar/{**}', '/foo/buzz/bar/baz', true],
    ['/foo/{*}/bar/{**}', '/foo/a/b/bar/baz', false],
    ['/{**}/end.txt', '/a/b/end.txt', true],
    ['/{**}/end.txt', '/a/b/endxtxt', false],
    ['/a+(b)/{*}', '/a+(b)/c', true],
    ['/a+(b)/{*}', '/aab/c', false],
    ['/a/{*}', '/a/b=c*d', true],
    ['/a/{*}', '/x/a/b', false],
    ['/a/{**}', '/a/line\nline', true],
  ];
  for (const [template, path, expected] of cases) t.equal(matches(template, path), expected, `${template} ${path}`);
});

t.test('what Istio takes for no template is refused with the reason', async t => {
  const cases: [string, RegExp][] = [
    ['/*/baz/{*}', /whole segment/],
    ['/**/baz/{*}', /whole segment/],
    ['/{**}/foo/{*}', /last operator/],
    ['/{**}/{**}', /last operator/],
    ['/foo/{*}.txt', /whole segment/],
    ['/{name}/{*}', /whole segment/],
    ['foo/{*}', /starts with "\/"/],
    ['*/{*}', /starts with "\/"/],
  ];
  for (const [template, reason] of cases) t.match(parsePathTemplate(template), { reason }, template);
});

t.test('a long path that almost matches is refused quickly', async t => {
  const template = `/${Array(200).fill('{*}').join('/')}/end`;
  t.equal(matches(template, `/${Array(201).fill('a'.repeat(20)).join('/')}`), false);
});

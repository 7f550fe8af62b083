import { Buffer } from 'node:buffer';
import fc from 'fast-check';
import t from 'tap';
import * as v from 'valibot';
import { MesoliteError } from '../../src/base/errors.ts';
import { decode, decodeJson } from '../../src/base/shape.ts';

const schema = v.strictObject({
  name: v.string(),
  rules: v.optional(v.array(v.strictObject({ to: v.array(v.string()) })), []),
  labels: v.optional(v.record(v.string(), v.string()), {}),
});

t.test('a message names what, where and what was expected', async t => {
  const cases: [unknown, RegExp][] = [
    [{}, /^policy\.yaml: name: required, but missing$/],
    [
      { name: 'a', nmae: 'b', x1: 1 },
      /^policy\.yaml: nmae: unknown field: .* \(and 1 more: x1: unknown field: expected .*\)$/,
    ],
    [{ name: 'a', nmae: 'b' }, /^policy\.yaml: nmae: unknown field: did you mean name\?$/],
    [{ name: 1 }, /^policy\.yaml: name: invalid type: Expected string but received 1$/],
    [
      { name: 'a', rules: [{ to: [] }, { to: ['x', 2] }] },
      /^policy\.yaml: rules\[1\]\.to\[1\]: invalid type: Expected string/,
    ],
    [{ name: 'a', rules: [{}] }, /^policy\.yaml: rules\[0\]\.to: required, but missing$/],
    [{ name: 'a', labels: { 'a.b/c': 1 } }, /^policy\.yaml: labels\.a\.b\/c: invalid type/],
    [null, /^policy\.yaml: invalid type: Expected Object but received null$/],
    ['text', /^policy\.yaml: invalid type: Expected Object/],
  ];
  for (const [input, message] of cases) {
    t.throws(() => decode(schema, input, 'policy.yaml'), { code: 'INVALID_INPUT', message }, JSON.stringify(input));
  }
});

t.test('several mistakes are told at once, a long value is not repeated whole', async t => {
  const input = { name: 1, a: 1, b: 1, c: 1, d: 1, e: 1 };
  t.throws(() => decode(schema, input, 'x'), { message: /^x: name: .* \(and \d more: .*unknown field.*\)$/ });
  const long = v.strictObject({ name: v.picklist(['a']) });
  try {
    decode(long, { name: 'x'.repeat(100_000) }, 'x');
    t.fail('taken');
  } catch (error) {
    t.ok(error instanceof Error && error.message.length < 500);
  }
});

t.test('what is too large, too deep or no JSON is refused before the schema sees it', async t => {
  const bounds = { maxBytes: 100, maxDepth: 3 };
  const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
  t.throws(() => decodeJson(schema, `"${'x'.repeat(99)}"`, 'x', bounds), {
    code: 'TOO_LARGE',
    message: /101 bytes, at most 100/,
  });
  t.throws(() => decodeJson(v.unknown(), deep(4), 'x', bounds), { code: 'TOO_LARGE', message: /deeper than 3 levels/ });
  t.same(decodeJson(v.unknown(), deep(3), 'x', bounds), [[[]]]);
  t.throws(() => decodeJson(schema, '{"name":', 'x', bounds), { code: 'INVALID_INPUT', message: 'x: not JSON' });
  let nested: unknown = 1;
  for (let i = 0; i < 33; i++) nested = [nested];
  t.throws(() => decode(v.unknown(), nested, 'x'), { code: 'TOO_LARGE', message: /deeper than 32 levels/ });
});

t.test('bytes are read as UTF-8 from their place in a larger buffer', async t => {
  const bytes = Buffer.from('??{"name":"é"}??').subarray(2, -2);
  t.same(decodeJson(schema, bytes, 'x'), { name: 'é', rules: [], labels: {} });
  t.same(decodeJson(schema, new Uint8Array(bytes), 'x').name, 'é');
});

t.test('names that a record would silently lose are refused with their path', async t => {
  for (const name of ['__proto__', 'constructor', 'prototype']) {
    const text = `{"name":"a","labels":{"${name}":"x"}}`;
    t.throws(() => decodeJson(schema, text, 'x'), {
      code: 'INVALID_INPUT',
      message: `x: no field may be called labels.${name}`,
    });
  }
  t.throws(() => decode(schema, { rules: [{}, { to: [{ prototype: 1 }] }] }, 'x'), {
    message: 'x: no field may be called rules.1.to.0.prototype',
  });
  t.same(decode(schema, { name: 'a', labels: { toString: 'x' } }, 'x').labels, { toString: 'x' });
});

t.test('whatever comes, it is taken or refused with one of two codes', async () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string(), fc.uint8Array()), input => {
      try {
        decodeJson(schema, input, 'x');
      } catch (error) {
        const known = error instanceof MesoliteError && ['INVALID_INPUT', 'TOO_LARGE'].includes(error.code);
        if (!known) throw error;
      }
    }),
    { seed: 10, numRuns: 2000 },
  );
});

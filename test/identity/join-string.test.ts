import fc from 'fast-check';
import t from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import { type JoinString, parseJoinString, printJoinString } from '../../src/identity/join-string.ts';
import { makeJoinToken } from '../../src/identity/token.ts';

const join: JoinString = {
  addresses: [
    { host: 'master.example', port: 8883 },
    { host: '10.0.0.1', port: 1 },
    { host: 'fd00::1', port: 65_535 },
  ],
  rootSha256: 'ab'.repeat(32),
  ...makeJoinToken(),
};
const encode = (content: unknown) => `mesolite-join-1.${Buffer.from(JSON.stringify(content)).toString('base64url')}`;
const content = { a: ['master:8883'], r: join.rootSha256, i: join.id, s: join.secret };

t.test('a join string says all that a board must know', async t => {
  const text = printJoinString(join);
  t.match(text, /^mesolite-join-1\.[A-Za-z0-9_-]+$/, 'one word that every shell takes as it is');
  t.same(parseJoinString(text), join);
  t.same(parseJoinString(`  ${text}\n`), join, 'as it stands in a file');
});

t.test('a join string may say where its hosts take WebSockets', async t => {
  t.same(parseJoinString(printJoinString({ ...join, wssPort: 8443 })), { ...join, wssPort: 8443 });
  t.notOk('wssPort' in parseJoinString(encode(content)), 'one of an older master does not');
  for (const w of [0, 65_536, 1.5, '8443', null]) {
    t.throws(() => parseJoinString(encode({ ...content, w })), {
      code: 'INVALID_INPUT',
      message: /w: expected a port/,
    });
  }
});

t.test('every join string that can be printed is read back', async () => {
  const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
  const address = fc.tuple(host, fc.integer({ min: 1, max: 65_535 })).map(([host, port]) => ({ host, port }));
  const property = fc.property(fc.array(address, { minLength: 1, maxLength: 8 }), addresses => {
    const { addresses: read } = parseJoinString(printJoinString({ ...join, addresses }));
    return JSON.stringify(read) === JSON.stringify(addresses);
  });
  fc.assert(property, { seed: 51, numRuns: 200 });
});

t.test('a damaged join string is refused with what to do', async t => {
  const text = printJoinString(join);
  const refused = (input: string, message: RegExp) =>
    t.throws(() => parseJoinString(input), { code: 'INVALID_INPUT', message }, String(message));
  refused('', /expected it to begin with mesolite-join-1\./);
  refused(join.secret, /expected it to begin with/);
  refused(text.replace('join-1', 'join-2'), /expected it to begin with/);
  refused(`${text.slice(0, 60)}\n${text.slice(60)}`, /copied whole, on one line/);
  refused(`${text}=`, /copied whole/);
  refused(text.slice(0, -8), /not JSON|copied whole/);
  t.throws(() => parseJoinString('x'.repeat(4097)), { code: 'TOO_LARGE', message: /more than 4096/ });
});

t.test('a join string of other content is refused with the field', async t => {
  const refused = (change: object, message: RegExp) =>
    t.throws(
      () => parseJoinString(encode({ ...content, ...change })),
      { code: 'INVALID_INPUT', message },
      JSON.stringify(change),
    );
  t.ok(parseJoinString(encode(content)));
  refused({ a: [] }, /a: expected at least one address/);
  refused({ a: Array.from({ length: 9 }, () => 'm:1') }, /a: expected at most 8 addresses/);
  refused({ a: 'm:1' }, /a: expected a list of addresses/);
  for (const address of [
    'master',
    'master:0',
    'master:65536',
    'master:1x',
    '[fd00::1',
    '[master]:1',
    'fd00::1:8883',
    'a b:1',
    'http://m:1',
    'm:123456',
  ]) {
    refused({ a: [address] }, /host:port/);
  }
  refused({ r: 'AB'.repeat(32) }, /r: expected the SHA-256 of the root/);
  refused({ i: 'a/b' }, /i: expected the id of the token/);
  refused({ s: 'short' }, /s: expected a secret of 256 bits/);
  refused({ s: 7 }, /s: expected a secret/);
  refused({ x: 1 }, /x: unknown field/);
  refused({ s: undefined }, /s: required, but missing/);
});

t.test('what cannot be read back is not printed', async t => {
  t.throws(() => printJoinString({ ...join, addresses: [] }), { code: 'INVALID_INPUT' });
  t.throws(() => printJoinString({ ...join, addresses: [{ host: 'a b', port: 1 }] }), { code: 'INVALID_INPUT' });
  t.throws(() => printJoinString({ ...join, secret: 'x' }), { code: 'INVALID_INPUT' });
});

t.test('no input breaks the reader, and no error tells the secret', async () => {
  const text = printJoinString(join);
  const json = JSON.stringify(content);
  const damagedText = fc
    .tuple(fc.nat(text.length - 1), fc.string({ maxLength: 3 }))
    .map(([at, put]) => text.slice(0, at) + put + text.slice(at + 1));
  const damagedJson = fc
    .tuple(fc.nat(json.length - 1), fc.string({ maxLength: 3 }))
    .map(
      ([at, put]) =>
        `mesolite-join-1.${Buffer.from(json.slice(0, at) + put + json.slice(at + 1)).toString('base64url')}`,
    );
  const wildJson = fc.jsonValue().map(encode);
  const property = fc.property(fc.oneof(fc.string(), damagedText, damagedJson, wildJson), input => {
    try {
      parseJoinString(input);
    } catch (error) {
      if (!isMesoliteError(error)) throw error;
      if (error.cause !== undefined) throw new Error('a cause would quote the text');
      if (error.message.includes(join.secret.slice(0, 12))) throw new Error(`tells the secret: ${error.message}`);
    }
  });
  fc.assert(property, { seed: 52, numRuns: 4000 });
});

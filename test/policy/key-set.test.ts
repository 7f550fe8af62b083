import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import { isKeySet, readKeySet } from '../../src/policy/key-set.ts';

const jwkOf = (type: 'rsa' | 'ec', size = 2048) => {
  const keys =
    type === 'rsa'
      ? generateKeyPairSync('rsa', { modulusLength: size })
      : generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { open: keys.publicKey.export({ format: 'jwk' }), secret: keys.privateKey.export({ format: 'jwk' }) };
};
const rsa = jwkOf('rsa');
const ec = jwkOf('ec');
const read = (...keys: object[]) => readKeySet(JSON.stringify({ keys }));

t.test('public keys are kept, with what verifying needs of them', async t => {
  t.same(read({ ...rsa.open, kid: 'a', x5c: ['MII'], use: 'sig' }, { ...ec.open, alg: 'ES256' }), [
    { kty: 'RSA', kid: 'a', n: rsa.open.n, e: rsa.open.e },
    { kty: 'EC', alg: 'ES256', crv: 'P-256', x: ec.open.x, y: ec.open.y },
  ]);
});

t.test('a set that holds a secret is refused whole', async t => {
  for (const secret of [rsa.secret, ec.secret, { kty: 'oct', k: 'c2VjcmV0' }]) {
    t.match(read(ec.open, secret), { reason: /^keys\[1\] holds a secret: give public keys only/ });
  }
});

t.test('keys that are no use are left out, and a set of nothing else is refused with the reason', async t => {
  const useless: [object, RegExp][] = [
    [{ ...ec.open, use: 'enc' }, /it is not for signatures/],
    [{ ...ec.open, key_ops: ['encrypt'] }, /it is not for signatures/],
    [{ ...ec.open, crv: 'secp256k1' }, /the curve "secp256k1" is not known/],
    [{ ...ec.open, x: undefined }, /expected "x" in base64url/],
    [{ kty: 'XYZ' }, /expected kty RSA, EC or OKP, got "XYZ"/],
    [jwkOf('rsa', 1024).open, /at least 2048 bits/],
    [{}, /got ""/],
  ];
  for (const [key, reason] of useless) {
    t.match(read(key), { reason }, JSON.stringify(key));
    t.ok(isKeySet(read(key, ec.open)), JSON.stringify(key));
  }
});

t.test('what is no set is refused', async t => {
  for (const text of ['', '[]', '{}', 'null', '{"keys":{}}', '{"keys":[1]}']) {
    t.match(readKeySet(text), { reason: /^expected a JWKS/ }, text);
  }
  t.match(readKeySet('{"keys":[]}'), { reason: /there is none/ });
  t.match(read(...Array.from({ length: 65 }, () => ec.open)), { reason: /at most 64 keys, got 65/ });
  t.match(read(...Array.from({ length: 60 }, () => rsa.open)), { reason: /at most 16384 bytes/ });
});

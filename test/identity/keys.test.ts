import { generateKeyPairSync } from 'node:crypto';
import t from 'tap';
import {
  generateKeyPair,
  keyIdOf,
  printPrivateKey,
  readPrivateKey,
  sha256Hex,
  spkiOf,
} from '../../src/identity/keys.ts';

t.test('a private key survives PEM', async t => {
  const { privateKey, publicKey } = generateKeyPair();
  const again = readPrivateKey(printPrivateKey(privateKey), 'key');
  t.equal(keyIdOf(again.publicKey), keyIdOf(publicKey));
  t.equal(keyIdOf(again.privateKey), keyIdOf(publicKey), 'both halves have one name');
  t.match(keyIdOf(publicKey), /^[0-9a-f]{64}$/);
  t.equal(keyIdOf(publicKey), sha256Hex(spkiOf(publicKey)));
});

t.test('a private key under a passphrase opens with that alone', async t => {
  const pem = printPrivateKey(generateKeyPair().privateKey, 'secret words');
  t.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  t.ok(readPrivateKey(pem, 'key', 'secret words'));
  const refused = (passphrase?: string) => () => readPrivateKey(pem, 'key', passphrase);
  t.throws(refused('other words'), { code: 'INVALID_INPUT', message: 'key: the passphrase does not open it' });
  t.throws(refused(''), { code: 'INVALID_INPUT', message: 'key: the passphrase does not open it' });
  t.throws(refused(), { code: 'INVALID_INPUT', message: 'key: encrypted, and no passphrase was given' });
});

t.test('a passphrase that a plain key does not need is no harm', async t => {
  t.ok(readPrivateKey(printPrivateKey(generateKeyPair().privateKey), 'key', 'not needed'));
});

t.test('what is no P-256 key is refused', async t => {
  const pemOf = (pair: { privateKey: { export(o: { type: 'pkcs8'; format: 'pem' }): string | Buffer } }) =>
    pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const others = [
    generateKeyPairSync('rsa', { modulusLength: 2048 }),
    generateKeyPairSync('ec', { namedCurve: 'P-384' }),
    generateKeyPairSync('ed25519'),
  ];
  for (const pair of others) {
    t.throws(() => readPrivateKey(pemOf(pair), 'key'), {
      code: 'INVALID_INPUT',
      message: /expected an ECDSA P-256 key/,
    });
  }
  t.throws(() => readPrivateKey('junk', 'key'), { code: 'INVALID_INPUT', message: /not a private key in PEM/ });
  t.throws(() => readPrivateKey('x'.repeat(8193), 'key'), { code: 'TOO_LARGE' });
});

t.test('hashes are of the bytes, and of the UTF-8 of a text', async t => {
  t.equal(sha256Hex(''), 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
  t.equal(sha256Hex('é'), sha256Hex(Buffer.from([0xc3, 0xa9])));
});

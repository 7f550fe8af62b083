import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t from 'tap';
import { isMesoliteError } from '../../src/base/errors.ts';
import {
  bitString,
  boolean,
  type DerValue,
  element,
  encodeDer,
  encoded,
  integer,
  octetString,
  oid,
  sequence,
  set,
  utf8String,
} from '../../src/identity/der.ts';
import { encodeNames, extensionOids } from '../../src/identity/extensions.ts';
import { generateKeyPair, keyIdOf, spkiOf } from '../../src/identity/keys.ts';
import { createRequest, readRequest, requestBounds } from '../../src/identity/request.ts';
import { ecdsaWithSha256 } from '../../src/identity/signed.ts';
import { openssl, opensslMissing } from '../fixtures/openssl.ts';

const uri = 'spiffe://test.mesolite/node/pi-4';
const keys = generateKeyPair();

interface Odd {
  readonly key?: KeyObject;
  readonly spki?: Buffer;
  readonly version?: number;
  readonly extensions?: readonly DerValue[];
  readonly attributes?: readonly DerValue[];
  readonly algorithm?: DerValue;
  readonly digest?: string;
  readonly extra?: readonly DerValue[];
}

const names = (...values: string[]) =>
  encodeNames(
    values.map(value => ({ kind: 'uri', value })),
    true,
  );
const extension = (id: string, value: DerValue, critical = true) =>
  sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(encodeDer(value)));
const extensionRequest = (...extensions: readonly DerValue[]) =>
  sequence(oid('1.2.840.113549.1.9.14'), set(sequence(...extensions)));

/** A request that is right but for what `odd` says, and truly signed. */
function craft(odd: Odd): Buffer {
  const { key = keys.privateKey, extensions = [names(uri)], algorithm = ecdsaWithSha256 } = odd;
  const info = sequence(
    integer(Buffer.of(odd.version ?? 0)),
    sequence(),
    encoded(odd.spki ?? spkiOf(key)),
    element(0xa0, odd.attributes ?? [extensionRequest(...extensions)]),
  );
  const signature = bitString(sign(odd.digest ?? 'sha256', encodeDer(info), key));
  return encodeDer(sequence(info, algorithm, signature, ...(odd.extra ?? [])));
}

t.test('a request proves its key and names one SPIFFE id', async t => {
  const request = readRequest(createRequest(uri, keys));
  t.same(request.id, { kind: 'node', trustDomain: 'test.mesolite', node: 'pi-4' });
  t.equal(request.uri, uri);
  t.equal(request.keyId, keyIdOf(keys.publicKey));
  t.same(request.spki, spkiOf(keys.publicKey));
  t.equal(readRequest(craft({})).uri, uri, 'the crafted ones below are right in all else');
});

t.test('openssl req -verify accepts a request', { skip: opensslMissing }, async t => {
  const run = openssl(['req', '-inform', 'DER', '-verify', '-noout', '-text'], createRequest(uri, keys));
  t.equal(run.status, 0, run.text);
  t.match(run.text, /verify OK/i);
  t.match(run.text, `URI:${uri}`);
});

t.test('a request by openssl is read', { skip: opensslMissing }, async t => {
  const dir = t.testdir();
  const key = join(dir, 'key.pem');
  openssl(['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key]);
  const out = join(dir, 'csr.der');
  const made = openssl([
    'req',
    '-new',
    '-key',
    key,
    '-subj',
    '/CN=pi-4',
    '-addext',
    `subjectAltName=URI:${uri}`,
    '-outform',
    'DER',
    '-out',
    out,
  ]);
  t.equal(made.status, 0, made.text);
  t.equal(readRequest(readFileSync(out)).uri, uri);
});

t.test('a request for more than an identity is refused', async t => {
  const { basicConstraints, keyUsage, extendedKeyUsage } = extensionOids;
  const dns = encodeNames(
    [
      { kind: 'uri', value: uri },
      { kind: 'dns', value: 'master' },
    ],
    true,
  );
  for (const [what, extensions, message] of [
    ['CA:TRUE', [names(uri), extension(basicConstraints, sequence(boolean(true)))], /not for the requester to choose/],
    ['CA:FALSE', [names(uri), extension(basicConstraints, sequence())], /not for the requester to choose/],
    ['a key usage', [names(uri), extension(keyUsage, bitString(Buffer.of(4), 2))], /not for the requester to choose/],
    ['an extended key usage', [names(uri), extension(extendedKeyUsage, sequence(oid('1.3.6.1.5.5.7.3.3')))], /not for/],
    ['an unknown extension', [names(uri), extension('1.2.3.4', sequence(), false)], /1\.2\.3\.4 is not for/],
    ['two URIs', [names(uri, 'spiffe://test.mesolite/master')], /exactly one name/],
    ['a DNS name beside', [dns], /exactly one name/],
    ['a DNS name alone', [encodeNames([{ kind: 'dns', value: uri }], true)], /exactly one name/],
    ['no name', [], /exactly one name/],
    ['an empty list of names', [names()], /exactly one name/],
    ['the names twice', [names(uri), names(uri)], /appears twice/],
    ['no SPIFFE id', [names('https://example.org/node/a')], /is not a SPIFFE id/],
    ['a SPIFFE id of no kind', [names('spiffe://test.mesolite/elsewhere')], /is not a SPIFFE id/],
    ['a zero byte in the URI', [names(`${uri}\0`)], /is not a SPIFFE id/],
  ] as const) {
    t.throws(() => readRequest(craft({ extensions })), { code: 'INVALID_INPUT', message }, what);
  }
});

t.test('a request with other attributes is refused', async t => {
  const challenge = sequence(oid('1.2.840.113549.1.9.7'), set(utf8String('password')));
  const empty = sequence(oid('1.2.840.113549.1.9.14'), set());
  const twice = sequence(oid('1.2.840.113549.1.9.14'), set(sequence(names(uri)), sequence(names(uri))));
  for (const attributes of [[], [challenge], [extensionRequest(names(uri)), challenge], [empty], [twice]]) {
    t.throws(() => readRequest(craft({ attributes })), { code: 'INVALID_INPUT' });
  }
});

t.test('only P-256 with ES256 is taken', async t => {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey;
  t.throws(() => readRequest(craft({ key: rsa })), { code: 'INVALID_INPUT', message: /expected an ECDSA P-256 key/ });
  t.throws(() => readRequest(craft({ key: p384 })), { code: 'INVALID_INPUT', message: /expected an ECDSA P-256 key/ });
  const sha384 = sequence(oid('1.2.840.10045.4.3.3'));
  t.throws(() => readRequest(craft({ algorithm: sha384, digest: 'sha384' })), {
    message: /expected a signature by ecdsa-with-SHA256/,
  });
  t.throws(() => readRequest(craft({ digest: 'sha384' })), { code: 'UNTRUSTED' });
});

t.test('a key that is no plain point of the curve is refused', async t => {
  const spki = spkiOf(keys.publicKey);
  const offCurve = Buffer.from(spki);
  offCurve.writeUInt8((spki.at(-1) ?? 0) ^ 1, spki.length - 1);
  t.throws(() => readRequest(craft({ spki: offCurve })), { code: 'INVALID_INPUT', message: /not a point of P-256/ });
  const x = spki.length - 64;
  const point = Buffer.concat([Buffer.of(2 + ((spki.at(-1) ?? 0) & 1)), spki.subarray(x, x + 32)]);
  const algorithm = sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7'));
  const compressed = encodeDer(sequence(algorithm, bitString(point)));
  t.ok(createPublicKey({ key: compressed, format: 'der', type: 'spki' }), 'OpenSSL would take it');
  t.throws(() => readRequest(craft({ spki: compressed })), { code: 'INVALID_INPUT', message: /uncompressed/ });
});

t.test('a signature by another key, or over other bytes, does not verify', async t => {
  const other = generateKeyPair();
  t.throws(() => readRequest(craft({ spki: spkiOf(other.publicKey) })), { code: 'UNTRUSTED' });
  const moved = createRequest(uri, keys);
  moved.write('pi-5', moved.indexOf('pi-4'));
  t.throws(() => readRequest(moved), {
    code: 'UNTRUSTED',
    message: 'certificate request: the signature does not verify',
  });
});

t.test('a request of another shape is refused', async t => {
  const good = createRequest(uri, keys);
  t.throws(() => readRequest(craft({ version: 1 })), { code: 'INVALID_INPUT', message: /version 1/ });
  t.throws(() => readRequest(craft({ extra: [sequence()] })), { code: 'INVALID_INPUT' });
  t.throws(() => readRequest(Buffer.concat([good, Buffer.of(0)])), { code: 'INVALID_INPUT' }, 'a trailing byte');
  t.throws(() => readRequest(good.subarray(0, -1)), { code: 'INVALID_INPUT' }, 'cut');
  t.throws(() => readRequest(encodeDer(sequence())), { code: 'INVALID_INPUT' }, 'empty');
  t.throws(() => readRequest(Buffer.alloc(requestBounds.maxBytes + 1)), { code: 'TOO_LARGE' });
});

t.test('no bytes at all break the reader', async () => {
  const property = fc.property(fc.uint8Array({ maxLength: 400 }), bytes => isRefused(bytes));
  fc.assert(property, { seed: 31, numRuns: 3000 });
});

t.test('no damaged request is taken', async () => {
  const good = createRequest(uri, keys);
  const property = fc.property(
    fc.nat(good.length - 1),
    fc.integer({ min: 1, max: 255 }),
    fc.nat(4),
    (at, flip, cut) => {
      const bytes = Buffer.concat([good.subarray(0, at), good.subarray(at + cut)]);
      if (cut === 0) bytes.writeUInt8((bytes[at] ?? 0) ^ flip, at);
      return isRefused(bytes);
    },
  );
  fc.assert(property, { seed: 32, numRuns: 4000 });
});

t.test('no damaged names break the reader, even when the key signs for them', async () => {
  const content = encodeDer(sequence(element(0x86, Buffer.from(uri))));
  const property = fc.property(fc.nat(content.length - 1), fc.nat(255), (at, byte) => {
    const bytes = Buffer.from(content);
    bytes.writeUInt8(byte, at);
    const damaged = sequence(oid(extensionOids.subjectAltName), boolean(true), octetString(bytes));
    const der = craft({ extensions: [damaged] });
    return isRefused(der) || readRequest(der).uri.startsWith('spiffe://');
  });
  fc.assert(property, { seed: 33, numRuns: 2000 });
});

function isRefused(bytes: Uint8Array): boolean {
  try {
    readRequest(bytes);
    return false;
  } catch (error) {
    if (isMesoliteError(error)) return true;
    throw error;
  }
}

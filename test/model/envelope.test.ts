import { Buffer } from 'node:buffer';
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { MesoliteError } from '../../src/base/errors.ts';
import { type Envelope, openEnvelope, sealEnvelope } from '../../src/model/envelope.ts';

function makeKey() {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyId = createHash('sha256')
    .update(publicKey.export({ format: 'der', type: 'spki' }))
    .digest('hex');
  const signer = {
    keyId,
    sign: (bytes: Uint8Array) => sign('sha256', bytes, { key: privateKey, dsaEncoding: 'ieee-p1363' }),
  };
  const verifier = (id: string, bytes: Uint8Array, signature: Uint8Array) =>
    id === keyId && verify('sha256', bytes, { key: publicKey, dsaEncoding: 'ieee-p1363' }, signature);
  return { signer, verifier };
}

const { signer, verifier } = makeKey();
const bounds = { maxBytes: 4096, maxDepth: 8 };
const envelope: Envelope = {
  kind: 'policy',
  subject: 'all',
  revision: 7,
  issuedAt: 1,
  expiresAt: 2,
  body: { documents: ['é', { a: [1, 2] }] },
};

t.test('what was sealed is opened as it was', async t => {
  t.same(openEnvelope(sealEnvelope(envelope, signer), verifier, bounds), envelope);
});

t.test('with any one bit changed it is refused as untrusted', async t => {
  const wire = sealEnvelope(envelope, signer);
  for (let i = 0; i < wire.length; i++) {
    const tampered = Buffer.from(wire);
    tampered[i] = (wire[i] ?? 0) ^ (1 << (i % 8));
    try {
      openEnvelope(tampered, verifier, bounds);
      t.fail(`byte ${i} was changed and nobody noticed`);
    } catch (error) {
      if (!(error instanceof MesoliteError) || error.code !== 'UNTRUSTED') t.fail(`byte ${i}: ${error}`);
    }
  }
});

t.test('each of the characters that a signature may end in is refused but the one', async t => {
  const wire = sealEnvelope(envelope, signer).toString('latin1');
  const end = wire.indexOf('\n');
  const taken = [...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'].filter(character => {
    try {
      openEnvelope(Buffer.from(`${wire.slice(0, end - 1)}${character}${wire.slice(end)}`, 'latin1'), verifier, bounds);
      return true;
    } catch {
      return false;
    }
  });
  t.same(taken, [wire[end - 1]]);
});

t.test('cut, lengthened, unsigned or signed by another it is untrusted', async t => {
  const wire = sealEnvelope(envelope, signer);
  const cases: [string, Uint8Array][] = [
    ['empty', Buffer.alloc(0)],
    ['cut', wire.subarray(0, -1)],
    ['longer', Buffer.concat([wire, Buffer.from(' ')])],
    ['payload alone', wire.subarray(wire.indexOf('\n') + 1)],
    ['no line feed', Buffer.from(wire.toString('latin1').replace('\n', ' '), 'latin1')],
    ['another key', sealEnvelope(envelope, makeKey().signer)],
    ['another key under this one’s name', sealEnvelope(envelope, { ...makeKey().signer, keyId: signer.keyId })],
    [
      'signed without the context',
      sealEnvelope(envelope, { ...signer, sign: bytes => signer.sign(bytes.subarray(21)) }),
    ],
  ];
  for (const [name, bytes] of cases) t.throws(() => openEnvelope(bytes, verifier, bounds), { code: 'UNTRUSTED' }, name);
});

t.test('larger than its bound it is refused before its signature is looked at', async t => {
  const large = sealEnvelope({ ...envelope, body: 'x'.repeat(5000) }, signer);
  t.throws(() => openEnvelope(large, () => t.fail('looked at'), bounds), { code: 'TOO_LARGE' });
});

t.test('signed and yet not of the right shape it is invalid', async t => {
  const cases: object[] = [
    { ...envelope, kind: 'other' },
    { ...envelope, revision: -1 },
    { ...envelope, revision: 1.5 },
    { ...envelope, expiresAt: '2030' },
    { ...envelope, extra: 1 },
    { ...envelope, subject: 'x'.repeat(129) },
  ];
  for (const payload of cases) {
    const wire = sealEnvelope(payload as Envelope, signer);
    t.throws(() => openEnvelope(wire, verifier, bounds), { code: 'INVALID_INPUT' }, JSON.stringify(payload));
  }
  let deep: unknown = 1;
  for (let i = 0; i < 9; i++) deep = [deep];
  t.throws(() => openEnvelope(sealEnvelope({ ...envelope, body: deep }, signer), verifier, bounds), {
    code: 'TOO_LARGE',
  });
});

t.test('no bytes make it do anything but open or refuse', async () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }),
        fc.string().map(text => Buffer.from(`mesolite1 ${text}`)),
      ),
      bytes => {
        try {
          openEnvelope(bytes, () => false, bounds);
        } catch (error) {
          if (error instanceof MesoliteError && error.code === 'UNTRUSTED') return;
          throw error;
        }
        throw new Error('opened');
      },
    ),
    { seed: 12, numRuns: 3000 },
  );
});

import { X509Certificate } from 'node:crypto';
import t from 'tap';
import { dayMs } from '../../src/base/clock.ts';
import { type Issuer, makeCertificate } from '../../src/identity/certificate.ts';
import { generateKeyPair, readPrivateKey, spkiOf } from '../../src/identity/keys.ts';
import { makeEnvelopeSigner, makeEnvelopeVerifier } from '../../src/identity/signer.ts';
import type { Moment } from '../../src/identity/verify.ts';
import { type Envelope, type EnvelopeSigner, openEnvelope, sealEnvelope } from '../../src/model/envelope.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const trustDomain = 'test.mesolite';
const { authority, state, node } = makeTestAuthority(now);
const bounds = { maxBytes: 4096, maxDepth: 8 };
const envelope: Envelope = {
  kind: 'policy',
  subject: 'all',
  revision: 7,
  issuedAt: now,
  expiresAt: now + dayMs,
  body: { a: 1 },
};
const untrusted = { code: 'UNTRUSTED' };

const open = (pem: string, keyPem: string): Issuer => ({
  certificate: new X509Certificate(pem),
  privateKey: readPrivateKey(keyPem, 'key').privateKey,
});

/** Opens what `signer` sealed, believing the certificates `pems`. */
function check(signer: EnvelopeSigner, pems: readonly string[], at = now): Envelope {
  const verify = makeEnvelopeVerifier(pems, authority.bundle, () => ({ now: at }));
  return openEnvelope(sealEnvelope(envelope, signer), verify, bounds);
}

/** A configuration key with a certificate by `issuer` for `uri`. */
function certify(issuer: Issuer, uri: string, extendedKeyUsage: readonly 'clientAuth'[] = []) {
  const { privateKey, publicKey } = generateKeyPair();
  const names = [{ kind: 'uri', value: uri }] as const;
  const validity = { notBefore: now - dayMs, notAfter: now + dayMs };
  const certificate = makeCertificate(
    { names, spki: spkiOf(publicKey), keyUsage: ['digitalSignature'], extendedKeyUsage, ...validity },
    issuer,
  );
  return { signer: makeEnvelopeSigner(privateKey), pems: [certificate.toString()] };
}

t.test('what the authority signs is believed by who has its root and its signer', async t => {
  t.same(check(authority.signer, [state.configPem]), envelope);
  t.match(authority.signer.keyId, /^[0-9a-f]{64}$/);
  t.equal(authority.signer.sign(Buffer.of(1)).length, 64, 'IEEE P1363');
});

t.test('one changed byte is noticed', async t => {
  const wire = sealEnvelope(envelope, authority.signer);
  const verify = makeEnvelopeVerifier([state.configPem], authority.bundle, () => ({ now }));
  const changed = Buffer.from(wire);
  changed.writeUInt8((wire.at(-2) ?? 0) ^ 1, wire.length - 2);
  t.throws(() => openEnvelope(changed, verify, bounds), untrusted);
});

t.test('a signer that was believed is not any more when its certificate is over, or revoked', async t => {
  const { signer, pems } = certify(open(state.rootPem, state.rootKeyPem), `spiffe://${trustDomain}/config`);
  let moment: Moment = { now };
  const verify = makeEnvelopeVerifier(pems, authority.bundle, () => moment);
  const wire = sealEnvelope(envelope, signer);
  t.same(openEnvelope(wire, verify, bounds), envelope);
  const serial = new X509Certificate(pems[0] ?? '').serialNumber;
  for (const over of [
    { now: now + 2 * dayMs, expiredToleranceMs: 7 * dayMs },
    { now: now - 2 * dayMs },
    { now, revoked: new Set([serial]) },
  ]) {
    moment = over;
    t.throws(() => openEnvelope(wire, verify, bounds), untrusted);
  }
  moment = { now, revoked: new Set(['01']) };
  t.same(openEnvelope(wire, verify, bounds), envelope);
});

t.test('a key that no certificate names is not believed', async t => {
  t.throws(() => check(makeEnvelopeSigner(generateKeyPair().privateKey), [state.configPem]), untrusted);
  t.throws(() => check(authority.signer, []), untrusted);
});

t.test('a key certified by the root for configuration is believed, also beside an old one', async t => {
  const root = open(state.rootPem, state.rootKeyPem);
  const { signer, pems } = certify(root, `spiffe://${trustDomain}/config`);
  t.same(check(signer, [state.configPem, ...pems]), envelope);
});

t.test('a key certified for anything else, or by anyone else, is not believed', async t => {
  const root = open(state.rootPem, state.rootKeyPem);
  const issuing = open(state.issuingPem, state.issuingKeyPem);
  const stranger = makeTestAuthority(now).state;
  const config = `spiffe://${trustDomain}/config`;
  for (const [what, { signer, pems }] of [
    ['for the master', certify(root, `spiffe://${trustDomain}/master`)],
    ['of another trust domain', certify(root, 'spiffe://other/config')],
    ['for TLS too', certify(root, config, ['clientAuth'])],
    ['by the issuing authority', certify(issuing, config)],
    ['by another root', certify(open(stranger.rootPem, stranger.rootKeyPem), config)],
  ] as const) {
    t.throws(() => check(signer, pems), untrusted, what);
    t.throws(
      () => check(signer, [...pems, state.issuingPem]),
      untrusted,
      `${what}, with the issuing authority at hand`,
    );
  }
  const { keyPem, chainPem } = node('a');
  t.throws(() => check(makeEnvelopeSigner(readPrivateKey(keyPem, 'key').privateKey), [chainPem]), untrusted, 'a node');
});

t.test('a signer is believed for its own time alone', async t => {
  t.throws(() => check(authority.signer, [state.configPem], now + 366 * dayMs), untrusted, 'expired');
  t.throws(() => check(authority.signer, [state.configPem], 0), untrusted, 'not yet');
  const behind = () => ({ now: 0, notYetValidToleranceMs: Number.POSITIVE_INFINITY });
  const verify = makeEnvelopeVerifier([state.configPem], authority.bundle, behind);
  t.same(
    openEnvelope(sealEnvelope(envelope, authority.signer), verify, bounds),
    envelope,
    'by a clock known to be behind',
  );
});

t.test('signers that cannot be read are refused when they are given', async t => {
  t.throws(() => makeEnvelopeVerifier(['nothing'], authority.bundle, () => ({ now })), { code: 'INVALID_INPUT' });
});

import { X509Certificate } from 'node:crypto';
import t from 'tap';
import {
  extensionsOf,
  type Issuer,
  makeCertificate,
  printCertificates,
  readCertificates,
} from '../../src/identity/certificate.ts';
import { bitString, boolean, encodeDer, integer, sequence } from '../../src/identity/der.ts';
import { extensionOids } from '../../src/identity/extensions.ts';
import { generateKeyPair, readPrivateKey, spkiOf } from '../../src/identity/keys.ts';
import { oddCertificate, oddExtension } from '../fixtures/odd-certificate.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const { state, node } = makeTestAuthority(now);
const issuing: Issuer = {
  certificate: new X509Certificate(state.issuingPem),
  privateKey: readPrivateKey(state.issuingKeyPem, 'key').privateKey,
};
const { chainPem } = node('a');

t.test('certificates are read in their order, and printed again', async t => {
  const chain = readCertificates(`# notes around\n${chainPem}`, 'chain');
  t.equal(chain.length, 2);
  t.equal(printCertificates(chain), chainPem);
});

t.test('a PEM text that is not only whole certificates is refused', async t => {
  const refused = (pem: string, message: RegExp) =>
    t.throws(() => readCertificates(pem, 'chain'), { code: 'INVALID_INPUT', message });
  refused('', /chain: no certificate in PEM/);
  refused(state.issuingKeyPem, /no certificate in PEM/);
  refused(chainPem + state.issuingKeyPem, /something else among the certificates/);
  refused(chainPem.replace(/END CERTIFICATE-----\n$/, ''), /damaged/);
  refused(`${chainPem}-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n`, /damaged/);
  refused('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', /cannot be read/);
  t.throws(() => readCertificates(state.rootPem.repeat(9), 'chain'), { code: 'TOO_LARGE', message: /at most 8/ });
  t.throws(() => readCertificates('x'.repeat(65_537), 'chain'), { code: 'TOO_LARGE' });
});

t.test('what an authority is, is in its extensions', async t => {
  t.match(extensionsOf(new X509Certificate(state.rootPem)), {
    isAuthority: true,
    pathLength: 2,
    keyUsage: ['keyCertSign', 'cRLSign'],
  });
  t.match(extensionsOf(issuing.certificate), { isAuthority: true, pathLength: 0 });
  t.match(extensionsOf(new X509Certificate(state.configPem)), { isAuthority: false, keyUsage: ['digitalSignature'] });
});

t.test('malformed extensions are refused, not guessed at', async t => {
  const { basicConstraints, keyUsage, subjectAltName } = extensionOids;
  for (const [what, id, value] of [
    ['constraints of three', basicConstraints, sequence(boolean(true), integer(Buffer.of(0)), boolean(true))],
    ['a path length without CA:TRUE', basicConstraints, sequence(integer(Buffer.of(0)))],
    ['a path length beyond 127', basicConstraints, sequence(boolean(true), integer(Buffer.of(200)))],
    ['a key usage without bits', keyUsage, bitString(Buffer.alloc(0))],
    ['a key usage of many bytes', keyUsage, bitString(Buffer.alloc(4, 1))],
    ['names that are no list', subjectAltName, boolean(true)],
    ['an OID that is none', extensionOids.extendedKeyUsage, sequence(boolean(true))],
  ] as const) {
    const certificate = oddCertificate(issuing, now, [oddExtension(id, encodeDer(value))]);
    t.throws(() => extensionsOf(certificate), { code: 'INVALID_INPUT' }, what);
  }
  const many = Array.from({ length: 33 }, (_, i) => oddExtension(`1.2.3.${i}`, Buffer.of(5, 0)));
  t.throws(() => extensionsOf(oddCertificate(issuing, now, many)), { message: /33 extensions/ });
});

t.test('a time that cannot be is refused', async t => {
  const make = (notBefore: number, notAfter: number) => () =>
    makeCertificate(
      {
        spki: spkiOf(generateKeyPair().publicKey),
        names: [],
        keyUsage: ['digitalSignature'],
        extendedKeyUsage: [],
        notBefore,
        notAfter,
      },
      issuing,
    );
  for (const [notBefore, notAfter] of [
    [now, now],
    [now, now - 1],
    [Number.NaN, now],
    [now, Number.NaN],
    [now, Date.UTC(10_000, 0, 1)],
  ] as const) {
    t.throws(make(notBefore, notAfter), { code: 'INVALID_INPUT', message: /cannot be valid/ });
  }
  t.ok(make(now, now + 1000)());
});

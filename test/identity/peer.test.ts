import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import type { Issuer } from '../../src/identity/certificate.ts';
import { element, encodeDer, sequence } from '../../src/identity/der.ts';
import { type AlternativeName, encodeNames, extensionOids } from '../../src/identity/extensions.ts';
import { readPrivateKey, sha256Hex } from '../../src/identity/keys.ts';
import { readPeer } from '../../src/identity/peer.ts';
import { oddCertificate, oddExtension } from '../fixtures/odd-certificate.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const { state, node, workload, server } = makeTestAuthority(now);
const issuing: Issuer = {
  certificate: new X509Certificate(state.issuingPem),
  privateKey: readPrivateKey(state.issuingKeyPem, 'key').privateKey,
};
const uri = 'spiffe://test.mesolite/ns/default/sa/hello';
const withNames = (...names: AlternativeName[]) => oddCertificate(issuing, now, [encodeNames(names, true)]);

t.test('a peer is read from its certificate', async t => {
  const { certificate, notAfter } = workload(uri);
  const peer = readPeer(certificate);
  t.same(peer, {
    id: { kind: 'workload', trustDomain: 'test.mesolite', namespace: 'default', serviceAccount: 'hello' },
    uri,
    principal: 'test.mesolite/ns/default/sa/hello',
    serial: certificate.serialNumber,
    sha256: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    notAfter,
  });
  t.same(readPeer(certificate.raw), peer, 'from DER as well');
  t.equal(peer?.sha256, sha256Hex(certificate.raw));
  t.match(readPeer(node('a').certificate), { id: { kind: 'node', node: 'a' } });
  t.match(readPeer(server().certificate), { id: { kind: 'master' } }, 'names of hosts beside it are no matter');
  t.match(readPeer(new X509Certificate(state.configPem)), { id: { kind: 'config' } });
});

t.test('an authority is no peer', async t => {
  t.equal(readPeer(new X509Certificate(state.rootPem)), undefined);
  t.equal(readPeer(new X509Certificate(state.issuingPem)), undefined);
});

t.test('a DNS name that prints like a URI is no identity', async t => {
  const spoof = withNames({ kind: 'dns', value: `a, URI:${uri}` });
  t.match(spoof.subjectAltName ?? '', 'spiffe://', 'the printed text alone would mislead');
  t.equal(readPeer(spoof), undefined);
  const beside = withNames({ kind: 'dns', value: 'a, URI:spiffe://test.mesolite/master' }, { kind: 'uri', value: uri });
  t.equal(readPeer(beside)?.uri, uri);
});

t.test('two URIs, none, or one that is not ours, are no identity', async t => {
  t.equal(readPeer(withNames({ kind: 'uri', value: uri }, { kind: 'uri', value: uri })), undefined);
  t.equal(readPeer(withNames({ kind: 'uri', value: uri }, { kind: 'uri', value: 'https://example.org' })), undefined);
  t.equal(readPeer(oddCertificate(issuing, now, [])), undefined);
  for (const value of ['', 'https://example.org', `${uri}/x`, `${uri}\0`, `${uri}\n`, ` ${uri}`, uri.toUpperCase()]) {
    t.equal(readPeer(withNames({ kind: 'uri', value })), undefined, JSON.stringify(value));
  }
});

t.test('a name of another type is not taken for a URI', async t => {
  const other = sequence(element(0x81, Buffer.from(uri)));
  t.equal(
    readPeer(oddCertificate(issuing, now, [oddExtension(extensionOids.subjectAltName, encodeDer(other))])),
    undefined,
  );
});

t.test('names that appear twice, or are malformed, are no identity', async t => {
  const names = encodeNames([{ kind: 'uri', value: uri }], true);
  t.equal(readPeer(oddCertificate(issuing, now, [names, names])), undefined);
  const trailing = Buffer.concat([encodeDer(sequence(element(0x86, Buffer.from(uri)))), Buffer.of(0)]);
  t.equal(readPeer(oddCertificate(issuing, now, [oddExtension(extensionOids.subjectAltName, trailing)])), undefined);
});

t.test('what is no certificate is nobody', async t => {
  t.equal(readPeer(Buffer.alloc(0)), undefined);
  t.equal(readPeer(Buffer.alloc(10_000)), undefined);
  const { raw } = node('a').certificate;
  t.equal(readPeer(raw.subarray(0, -1)), undefined);
  const property = fc.property(fc.nat(raw.length - 1), fc.nat(255), (at, byte) => {
    const bytes = Buffer.from(raw);
    bytes.writeUInt8(byte, at);
    const peer = readPeer(bytes);
    return peer === undefined || peer.uri.startsWith('spiffe://');
  });
  fc.assert(property, { seed: 41, numRuns: 3000 });
});

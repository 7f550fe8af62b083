import { X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';
import { decodeJson } from '../../src/base/shape.ts';
import { makeAuthority } from '../../src/identity/authority.ts';
import { createAuthority, generationSchema } from '../../src/identity/authority-state.ts';
import { extensionsOf } from '../../src/identity/certificate.ts';
import { generateKeyPair, sha256Hex } from '../../src/identity/keys.ts';
import { defaultLifetimes } from '../../src/identity/lifetimes.ts';
import { createRequest } from '../../src/identity/request.ts';
import { openssl, opensslMissing } from '../fixtures/openssl.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const trustDomain = 'test.mesolite';
const workloadId = `spiffe://${trustDomain}/ns/default/sa/hello`;
const seconds = (text: string) => Date.parse(text);
const refusal = (code: string, message: RegExp) => ({ code, message });

t.test('openssl verify -x509_strict accepts every kind of certificate', { skip: opensslMissing }, async t => {
  const { state, node, workload, server } = makeTestAuthority(now);
  const leaves = {
    node: node('pi-4').certificate.toString(),
    workload: workload(workloadId).certificate.toString(),
    master: server(['master.example', '10.0.0.1', 'fd00::1']).certificate.toString(),
  };
  const dir = t.testdir({ 'root.pem': state.rootPem, 'issuing.pem': state.issuingPem, 'config.pem': state.configPem });
  const common = ['verify', '-x509_strict', '-attime', String(now / 1000), '-CAfile', join(dir, 'root.pem')];
  for (const [name, pem] of Object.entries(leaves)) {
    const path = join(dir, `${name}.pem`);
    writeFileSync(path, pem);
    for (const purpose of ['sslclient', 'sslserver']) {
      const run = openssl([...common, '-purpose', purpose, '-untrusted', join(dir, 'issuing.pem'), path]);
      t.equal(run.status, 0, `${name} as ${purpose}: ${run.text}`);
    }
  }
  const direct = openssl([...common, join(dir, 'issuing.pem'), join(dir, 'config.pem')]);
  t.equal(direct.status, 0, `issuing authority and configuration signer, by the root alone: ${direct.text}`);
});

t.test('openssl refuses a leaf that comes without its issuing authority', { skip: opensslMissing }, async t => {
  const { state, node } = makeTestAuthority(now);
  const dir = t.testdir({ 'root.pem': state.rootPem, 'leaf.pem': node('a').certificate.toString() });
  const run = openssl([
    'verify',
    '-attime',
    String(now / 1000),
    '-CAfile',
    join(dir, 'root.pem'),
    join(dir, 'leaf.pem'),
  ]);
  t.not(run.status, 0);
});

t.test('a node certificate has the node id as its common name and only its SPIFFE id', async t => {
  const { authority, node } = makeTestAuthority(now);
  const { certificate, chainPem, serial, keyId, notAfter } = node('pi-4');
  t.equal(certificate.subject, 'CN=pi-4');
  t.same(extensionsOf(certificate).names, [{ kind: 'uri', value: `spiffe://${trustDomain}/node/pi-4` }]);
  t.equal(chainPem.match(/BEGIN CERTIFICATE/g)?.length, 2, 'leaf and issuing authority, not the root');
  t.equal(serial, certificate.serialNumber);
  t.equal(keyId, sha256Hex(certificate.publicKey.export({ type: 'spki', format: 'der' })));
  t.equal(notAfter, now + defaultLifetimes.nodeMs);
  t.equal(seconds(certificate.validFrom), now - 5 * minuteMs, 'back-dated for clocks that are behind');
  t.equal(authority.rootSha256, sha256Hex(new X509Certificate(authority.rootPem).raw));
});

t.test('a workload certificate has no common name that could pass for a node', async t => {
  const { workload } = makeTestAuthority(now);
  const { certificate, notAfter } = workload(workloadId);
  t.notMatch(String(certificate.subject ?? ''), /CN=/);
  t.same(extensionsOf(certificate).names, [{ kind: 'uri', value: workloadId }]);
  t.equal(notAfter, now + 24 * hourMs);
});

t.test('a server certificate names where it is reached, and its chain shows the root', async t => {
  const { server, authority } = makeTestAuthority(now);
  const { certificate, chainPem } = server([
    'Master.example',
    'localhost',
    '10.0.0.1',
    '::1',
    'fd00:1::2:3',
    '::ffff:1.2.3.4',
  ]);
  t.equal(certificate.checkHost('master.example'), 'master.example');
  t.equal(certificate.checkHost('localhost'), 'localhost');
  for (const ip of ['10.0.0.1', '::1', 'fd00:1::2:3', '::ffff:1.2.3.4']) t.equal(certificate.checkIP(ip), ip);
  t.equal(certificate.checkIP('10.0.0.2'), undefined);
  t.ok(chainPem.endsWith(authority.rootPem));
});

t.test('a server name that is none is refused', async t => {
  const { server } = makeTestAuthority(now);
  for (const name of [
    '',
    '*.example',
    'a b',
    'a\0b',
    'fe80::1%eth0',
    `${'a'.repeat(64)}.example`,
    'x, URI:spiffe://y',
  ]) {
    t.throws(() => server([name]), refusal('INVALID_INPUT', /no DNS name/), JSON.stringify(name));
  }
  t.throws(() => server(Array.from({ length: 65 }, (_, i) => `h${i}`)), refusal('INVALID_INPUT', /at most 64/));
});

t.test('a request in the name of another is refused', async t => {
  const { authority } = makeTestAuthority(now);
  const csr = (uri: string) => createRequest(uri, generateKeyPair());
  const node = (id: string) => `spiffe://${trustDomain}/node/${id}`;
  t.throws(() => authority.issueNode(csr(node('b')), 'a', now), refusal('FORBIDDEN', /only .*node\/a may be issued/));
  t.throws(() => authority.issueNode(csr('spiffe://other/node/a'), 'a', now), refusal('FORBIDDEN', /./));
  t.throws(() => authority.issueNode(csr(`spiffe://${trustDomain}/master`), 'a', now), refusal('FORBIDDEN', /./));
  t.throws(() => authority.issueWorkload(csr(node('a')), workloadId, now), refusal('FORBIDDEN', /./));
  t.throws(() => authority.issueServer(csr(node('a')), [], now), refusal('FORBIDDEN', /./));
  t.throws(() => authority.issueBroker(csr(`spiffe://${trustDomain}/master`), [], now), refusal('FORBIDDEN', /./));
  t.throws(() => authority.issueServer(csr(`spiffe://${trustDomain}/broker`), [], now), refusal('FORBIDDEN', /./));
  for (const id of [node('a'), `spiffe://${trustDomain}/master`, 'spiffe://other/ns/a/sa/b', 'nonsense']) {
    t.throws(() => authority.issueWorkload(csr(node('a')), id, now), refusal('FORBIDDEN', /no workload/), id);
  }
  t.throws(() => authority.issueNode(csr(node('a')), 'A/../b', now), refusal('INVALID_INPUT', /cannot be a SPIFFE id/));
});

t.test('serial numbers are positive, of up to 128 bits, and differ', async t => {
  const { node } = makeTestAuthority(now);
  const serials = Array.from({ length: 50 }, () => node('a').serial);
  t.equal(new Set(serials).size, serials.length);
  for (const serial of serials) t.match(serial, /^[0-9A-F]{16,32}$/);
});

t.test('a leaf never outlives its authority, and nothing is issued after it', async t => {
  const { authority, node } = makeTestAuthority(now, { lifetimes: { issuingMs: 10 * dayMs } });
  t.equal(node('a').notAfter, now + 10 * dayMs);
  const csr = createRequest(`spiffe://${trustDomain}/node/a`, generateKeyPair());
  t.throws(() => authority.issueNode(csr, 'a', now + 10 * dayMs), refusal('UNAVAILABLE', /expired on/));
});

t.test('lifetimes are settings', async t => {
  const { state, node, workload, server } = makeTestAuthority(now, {
    lifetimes: {
      rootMs: 40 * dayMs,
      issuingMs: 20 * dayMs,
      configMs: 30 * dayMs,
      nodeMs: hourMs,
      workloadMs: 2 * hourMs,
      serverMs: 3 * hourMs,
      backdateMs: 0,
    },
  });
  const ends = (pem: string) => seconds(new X509Certificate(pem).validTo) - now;
  t.equal(ends(state.rootPem), 40 * dayMs);
  t.equal(ends(state.issuingPem), 20 * dayMs);
  t.equal(ends(state.configPem), 30 * dayMs);
  t.equal(node('a').notAfter, now + hourMs);
  t.equal(workload(workloadId).notAfter, now + 2 * hourMs);
  t.equal(server().notAfter, now + 3 * hourMs);
  t.equal(seconds(node('a').certificate.validFrom), now);
});

t.test('a root that ends after 2049 is dated as RFC 5280 wants it', async t => {
  const { state } = makeTestAuthority(Date.UTC(2045, 5, 1));
  t.match(new X509Certificate(state.rootPem).validTo, /2055/);
});

t.test('settings that cannot be are refused', async t => {
  for (const name of ['', 'UPPER', 'a/b', '-a', 'a_b']) {
    t.throws(() => createAuthority({ trustDomain: name }, now), refusal('INVALID_INPUT', /trust domain/), name);
  }
  for (const nodeMs of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => createAuthority({ trustDomain, lifetimes: { nodeMs } }, now), refusal('INVALID_INPUT', /nodeMs/));
  }
  const lifetimes = { rootMs: 9_000 * 365 * dayMs };
  t.throws(() => createAuthority({ trustDomain, lifetimes }, now), refusal('INVALID_INPUT', /cannot be valid/));
});

t.test('the state survives as JSON, its keys under a passphrase', async t => {
  const settings = { trustDomain, passphrase: 'correct horse battery staple' };
  const state = createAuthority(settings, now);
  for (const pem of [state.rootKeyPem, state.issuingKeyPem, state.configKeyPem])
    t.match(pem, /BEGIN ENCRYPTED PRIVATE KEY/);
  const stored = decodeJson(generationSchema, JSON.stringify(state), 'authority');
  t.equal(makeAuthority(stored, settings).rootPem, state.rootPem);
  t.throws(() => makeAuthority(state, { trustDomain }), refusal('INVALID_INPUT', /no passphrase was given/));
  t.throws(() => makeAuthority(state, { trustDomain, passphrase: 'x' }), refusal('INVALID_INPUT', /does not open it/));
});

t.test('a state that does not fit together is refused', async t => {
  const a = createAuthority({ trustDomain }, now);
  const b = createAuthority({ trustDomain }, now);
  const open = (change: Partial<typeof a>) => () => makeAuthority({ ...a, ...change }, { trustDomain });
  t.throws(open({ issuingKeyPem: b.issuingKeyPem }), refusal('INVALID_INPUT', /do not belong together/));
  t.throws(open({ rootPem: b.rootPem }), refusal('INVALID_INPUT', /not issued by the root/));
  t.throws(
    open({ configPem: b.configPem, configKeyPem: b.configKeyPem }),
    refusal('INVALID_INPUT', /not issued by the root/),
  );
  t.throws(open({ rootPem: a.rootPem + b.rootPem }), refusal('INVALID_INPUT', /exactly one certificate/));
  t.throws(open({ rootPem: 'nothing' }), refusal('INVALID_INPUT', /no certificate in PEM/));
  t.throws(
    () => makeAuthority(a, { trustDomain: 'other.example' }),
    refusal('INVALID_INPUT', /not of the trust domain other.example/),
  );
});

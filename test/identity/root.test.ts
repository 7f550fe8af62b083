import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dayMs } from '../../src/base/clock.ts';
import { makeAuthority } from '../../src/identity/authority.ts';
import { createGeneration } from '../../src/identity/authority-state.ts';
import { readCertificate, readCertificates } from '../../src/identity/certificate.ts';
import { generateKeyPair } from '../../src/identity/keys.ts';
import { createRequest } from '../../src/identity/request.ts';
import { bridge, createRoot, openRoot, type RootState } from '../../src/identity/root.ts';
import { openssl, opensslMissing } from '../fixtures/openssl.ts';

// openssl dates from now on, whenever its turn comes
const now = Date.now() + dayMs;
const trustDomain = 'test.mesolite';
const settings = { trustDomain };

const goodExtensions = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];

/** A root as a user makes one with openssl. */
function userRoot(t: Test, extensions: readonly string[] = goodExtensions, algorithm: 'EC' | 'RSA' = 'EC'): RootState {
  const dir = t.testdir();
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const options = algorithm === 'RSA' ? 'rsa_keygen_bits:2048' : 'ec_paramgen_curve:P-256';
  execFileSync('openssl', ['genpkey', '-algorithm', algorithm, '-pkeyopt', options, '-out', key], { stdio: 'ignore' });
  const config = join(dir, 'config');
  const lines = ['[req]', 'distinguished_name=name', 'x509_extensions=ext', '[name]', '[ext]'];
  writeFileSync(config, [...lines, 'subjectKeyIdentifier=hash', ...extensions, ''].join('\n'));
  const name = '/C=DE/O=Wind Farm/CN=Wind Farm Root';
  const args = [
    'req',
    '-x509',
    '-new',
    '-sha256',
    '-key',
    key,
    '-subj',
    name,
    '-config',
    config,
    '-days',
    '3650',
    '-out',
    cert,
  ];
  execFileSync('openssl', args, { stdio: 'ignore' });
  return { rootPem: readFileSync(cert, 'utf8'), rootKeyPem: readFileSync(key, 'utf8') };
}

t.test('a root of the user carries all that is issued', { skip: opensslMissing }, async t => {
  const state = userRoot(t);
  const root = openRoot(state, settings, now);
  const authority = makeAuthority(createGeneration(root, settings, now), settings);
  const { chainPem } = authority.issueNode(
    createRequest(`spiffe://${trustDomain}/node/a`, generateKeyPair()),
    'a',
    now,
  );
  const [leaf, issuing] = readCertificates(chainPem, 'chain').map(String);
  const dir = t.testdir({
    root: state.rootPem,
    leaf: leaf ?? '',
    issuing: issuing ?? '',
    config: authority.signers[0] ?? '',
  });
  const verify = ['verify', '-attime', String(Math.floor(now / 1_000)), '-x509_strict', '-CAfile', join(dir, 'root')];
  for (const args of [['-untrusted', join(dir, 'issuing'), join(dir, 'leaf')], [join(dir, 'config')]]) {
    const run = openssl([...verify, ...args]);
    t.equal(run.status, 0, run.text);
  }
});

t.test('a root of the user that would not do is refused with the reason', { skip: opensslMissing }, async t => {
  const refused = (state: RootState, message: RegExp, what: string) =>
    t.throws(() => openRoot(state, settings, now), { code: 'INVALID_INPUT', message }, what);
  const [ca = '', usage = ''] = goodExtensions;
  refused(userRoot(t, [usage]), /no authority \(CA:TRUE is missing\)/, 'no authority');
  refused(userRoot(t, ['basicConstraints=critical,CA:FALSE', usage]), /no authority/, 'CA:FALSE');
  refused(userRoot(t, [ca, 'keyUsage=critical,cRLSign']), /key usage/, 'it may not sign');
  refused(userRoot(t, [ca]), /key usage/, 'no key usage');
  refused(userRoot(t, ['basicConstraints=critical,CA:TRUE,pathlen:0', usage]), /pathlen:0/, 'nothing below it');
  refused(userRoot(t, [ca, usage, 'extendedKeyUsage=serverAuth']), /extended key usage/, 'bound to servers');
  refused(userRoot(t, [ca, usage, 'nameConstraints=critical,permitted;DNS:x']), /critical extension/, 'constrained');
  refused(userRoot(t, [ca, usage, 'subjectAltName=URI:spiffe://other']), /for spiffe:\/\/other, not/, 'another domain');
  refused(userRoot(t, goodExtensions, 'RSA'), /expected an ECDSA P-256 key/, 'RSA');
  const good = userRoot(t);
  const other = createRoot(settings, now);
  refused({ ...good, rootKeyPem: other.rootKeyPem }, /do not belong together/, 'the key of another');
  refused({ ...good, rootKeyPem: 'x' }, /not a private key/, 'no key');
  refused({ ...good, rootPem: 'x' }, /no certificate in PEM/, 'no certificate');
  refused({ ...good, rootPem: good.rootPem + other.rootPem }, /exactly one/, 'two');
  t.throws(() => openRoot(good, settings, now + 3651 * dayMs), { message: /it expired on/ });
  t.throws(() => openRoot(good, settings, now - dayMs), { message: /not valid before/ });
  const issued = createGeneration(openRoot(other, settings, now), settings, now);
  refused({ rootPem: issued.issuingPem, rootKeyPem: issued.issuingKeyPem }, /did not sign itself/, 'an intermediate');
});

t.test('a root of the user that may have one authority below it gets no bridge', { skip: opensslMissing }, async t => {
  const [, usage = ''] = goodExtensions;
  const narrow = openRoot(userRoot(t, ['basicConstraints=critical,CA:TRUE,pathlen:1', usage]), settings, now);
  const wide = openRoot(userRoot(t), settings, now);
  const root = readCertificate(createRoot(settings, now).rootPem, 'root');
  t.equal(bridge(root, narrow, settings, now), undefined);
  const made = bridge(root, wide, settings, now);
  t.ok(made?.checkIssued(wide.certificate));
  t.equal(made?.subject, root.subject);
  t.ok(Date.parse(made?.validTo ?? '') <= Date.parse(wide.certificate.validTo), 'it ends with the old root');
});

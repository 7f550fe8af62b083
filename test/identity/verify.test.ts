import { X509Certificate } from 'node:crypto';
import forge from 'node-forge';
import t, { type Test } from 'tap';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';
import {
  type CertificateTemplate,
  type Issuer,
  makeCertificate,
  readCertificates,
} from '../../src/identity/certificate.ts';
import { generateKeyPair, type KeyPair, readPrivateKey, sha256Hex, spkiOf } from '../../src/identity/keys.ts';
import {
  readTrustBundle,
  type Usage,
  type Verification,
  verifyChain,
  verifyPinned,
} from '../../src/identity/verify.ts';
import { oddCertificate, oddExtension, peerExtensions } from '../fixtures/odd-certificate.ts';
import { makeTestAuthority, type TestIdentity } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const moment = { now };
const trustDomain = 'test.mesolite';
const nodeUri = `spiffe://${trustDomain}/node/a`;
const { authority, state, node, workload, server } = makeTestAuthority(now);
const bundle = readTrustBundle(trustDomain, [state.rootPem]);
const root: Issuer = open(state.rootPem, state.rootKeyPem);
const issuing: Issuer = open(state.issuingPem, state.issuingKeyPem);

function open(pem: string, keyPem: string): Issuer {
  return { certificate: new X509Certificate(pem), privateKey: readPrivateKey(keyPem, 'key').privateKey };
}

const chainOf = (identity: TestIdentity) => readCertificates(identity.chainPem, 'chain');

/** A leaf that is right but for what `odd` says. */
function leaf(
  odd: Partial<CertificateTemplate>,
  issuer: Issuer = issuing,
  keys: KeyPair = generateKeyPair(),
): X509Certificate {
  return makeCertificate(
    {
      commonName: 'a',
      spki: spkiOf(keys.publicKey),
      names: [{ kind: 'uri', value: nodeUri }],
      keyUsage: ['digitalSignature'],
      extendedKeyUsage: ['serverAuth', 'clientAuth'],
      notBefore: now - hourMs,
      notAfter: now + dayMs,
      ...odd,
    },
    issuer,
  );
}

/** A root with an RSA key and a leaf by it, as other tools make them. */
function rsaChain(): { readonly rootPem: string; readonly leaf: X509Certificate } {
  const { privateKey, publicKey } = forge.pki.rsa.generateKeyPair(2048);
  const make = (name: string, extensions: object[]) => {
    const certificate = forge.pki.createCertificate();
    Object.assign(certificate, { publicKey, serialNumber: name.length.toString().padStart(2, '0') });
    Object.assign(certificate.validity, { notBefore: new Date(now - hourMs), notAfter: new Date(now + dayMs) });
    certificate.setSubject([{ name: 'commonName', value: name }]);
    certificate.setIssuer([{ name: 'commonName', value: 'large' }]);
    certificate.setExtensions(extensions);
    certificate.sign(privateKey, forge.md.sha256.create());
    return forge.pki.certificateToPem(certificate);
  };
  const uri = { name: 'subjectAltName', altNames: [{ type: 6, value: nodeUri }] };
  const usages = [
    { name: 'keyUsage', digitalSignature: true },
    { name: 'extKeyUsage', clientAuth: true },
  ];
  const rootPem = make('large', [
    { name: 'basicConstraints', cA: true },
    { name: 'keyUsage', keyCertSign: true },
  ]);
  return { rootPem, leaf: new X509Certificate(make('leaf', [uri, ...usages])) };
}

function subAuthority(odd: Partial<CertificateTemplate>, issuer: Issuer): Issuer {
  const keys = generateKeyPair();
  const template = {
    commonName: 'sub',
    keyUsage: ['keyCertSign'],
    extendedKeyUsage: [],
    pathLength: 0,
    ...odd,
  } as const;
  return { certificate: leaf(template, issuer, keys), privateKey: keys.privateKey };
}

function refused(t: Test, result: Verification, reason: RegExp, what: string): void {
  t.match(result, { ok: false, reason }, what);
}

t.test('every leaf that is issued is good for both ends of TLS', async t => {
  const leaves = [node('a'), workload(`spiffe://${trustDomain}/ns/default/sa/hello`), server()];
  for (const identity of leaves) {
    for (const usage of ['client', 'server'] as const) {
      const result = verifyChain(chainOf(identity), bundle, usage, moment);
      t.match(result, { ok: true, peer: { serial: identity.serial } }, `${identity.certificate.subject} as ${usage}`);
    }
  }
});

t.test('the order of the chain beyond the leaf does not matter', async t => {
  const [first, ...others] = chainOf(server());
  const shuffled = first === undefined ? [] : [first, ...others.reverse()];
  t.ok(verifyChain(shuffled, bundle, 'server', moment).ok);
});

t.test('a leaf without its authority is refused, unless the verifier has that', async t => {
  const [first] = chainOf(node('a'));
  const chain = first === undefined ? [] : [first];
  refused(t, verifyChain(chain, bundle, 'client', moment), /does not end in a trusted root/, 'alone');
  const neighbour = readTrustBundle(trustDomain, [state.rootPem], node('b').chainPem);
  t.ok(verifyChain(chain, neighbour, 'client', moment).ok, 'a neighbour has it in its own chain');
  t.ok(verifyChain(chain, authority.bundle, 'client', moment).ok, 'and so has the authority');
  refused(t, verifyChain([], bundle, 'client', moment), /no certificate/, 'nobody');
});

t.test('a chain to another root is refused', async t => {
  const stranger = makeTestAuthority(now);
  const chain = [...chainOf(stranger.node('a')), new X509Certificate(stranger.state.rootPem)];
  refused(t, verifyChain(chain, bundle, 'client', moment), /does not end in a trusted root/, 'with its own root in it');
  t.ok(verifyChain(chain, stranger.authority.bundle, 'client', moment).ok, 'it is good where it belongs');
});

t.test('an authority that is not P-256 is none: to try large keys costs a verifier more than a stranger', async t => {
  const { rootPem, leaf } = rsaChain();
  t.ok(leaf.verify(new X509Certificate(rootPem).publicKey), 'OpenSSL would take it');
  const own = readTrustBundle(trustDomain, [rootPem]);
  refused(t, verifyChain([leaf], own, 'client', moment), /does not end in a trusted root/, 'RSA');
});

t.test('an authority of the right name and key id, with another key, issues nothing', async t => {
  const keys = generateKeyPair();
  const forged = leaf({}, { certificate: issuing.certificate, privateKey: keys.privateKey }, keys);
  refused(
    t,
    verifyChain([forged, issuing.certificate], bundle, 'client', moment),
    /does not end in a trusted root/,
    'forged',
  );
});

t.test('an identity of another trust domain is refused, though our authority signed it', async t => {
  const names = [{ kind: 'uri', value: 'spiffe://other/node/a' }] as const;
  refused(
    t,
    verifyChain([leaf({ names }), issuing.certificate], bundle, 'client', moment),
    /not of the trust domain/,
    'other',
  );
});

t.test('a certificate without exactly one SPIFFE id is nobody', async t => {
  const uri = { kind: 'uri', value: nodeUri } as const;
  for (const names of [
    [{ kind: 'dns', value: 'a' }],
    [uri, { kind: 'uri', value: `spiffe://${trustDomain}/master` }],
  ] as const) {
    refused(
      t,
      verifyChain([leaf({ names }), issuing.certificate], bundle, 'client', moment),
      /no SPIFFE id/,
      names.length.toString(),
    );
  }
});

t.test('time is judged for every certificate of the chain', async t => {
  const chain = chainOf(node('a'));
  const at = (time: number, tolerance?: number) =>
    verifyChain(chain, bundle, 'client', {
      now: time,
      ...(tolerance === undefined ? {} : { notYetValidToleranceMs: tolerance }),
    });
  t.ok(at(now - 5 * minuteMs).ok);
  refused(t, at(now - 5 * minuteMs - 1000), /not valid before/, 'too early');
  t.ok(at(now + 30 * dayMs).ok);
  refused(t, at(now + 30 * dayMs + 1), /expired on/, 'a leaf that expired');
  refused(t, at(Number.NaN), /not valid before/, 'no time at all');

  const brief = makeTestAuthority(now, { lifetimes: { issuingMs: hourMs } });
  const unclamped = leaf({}, open(brief.state.issuingPem, brief.state.issuingKeyPem));
  const old = [unclamped, new X509Certificate(brief.state.issuingPem)];
  t.ok(verifyChain(old, brief.authority.bundle, 'client', moment).ok);
  refused(
    t,
    verifyChain(old, brief.authority.bundle, 'client', { now: now + 2 * hourMs }),
    /expired on/,
    'an authority that expired',
  );

  const shortRoot = makeTestAuthority(now, { lifetimes: { rootMs: hourMs } });
  const direct = leaf({}, open(shortRoot.state.rootPem, shortRoot.state.rootKeyPem));
  refused(
    t,
    verifyChain([direct], shortRoot.authority.bundle, 'client', { now: now + 2 * hourMs }),
    /expired on/,
    'a root that expired',
  );
});

t.test('a clock that is known to be behind tolerates "not yet", never "expired"', async t => {
  const chain = chainOf(node('a'));
  t.ok(
    verifyChain(chain, bundle, 'server', { now: 0, notYetValidToleranceMs: Number.POSITIVE_INFINITY }).ok,
    'a board in 1970',
  );
  t.ok(verifyChain(chain, bundle, 'server', { now: now - dayMs, notYetValidToleranceMs: dayMs }).ok);
  refused(
    t,
    verifyChain(chain, bundle, 'server', { now: 0, notYetValidToleranceMs: dayMs }),
    /not valid before/,
    'bounded',
  );
  const late = { now: now + 31 * dayMs, notYetValidToleranceMs: Number.POSITIVE_INFINITY };
  refused(t, verifyChain(chain, bundle, 'server', late), /expired on/, 'expired stays expired');
});

t.test('a peer that expired is good inside the grace of the one who asks, an authority or a signer never', async t => {
  const chain = chainOf(node('a'));
  const at = (time: number) =>
    verifyChain(chain, bundle, 'client', { now: time, expiredToleranceMs: 7 * dayMs, notYetValidToleranceMs: 0 });
  t.ok(at(now + 37 * dayMs).ok, 'to the last second of it');
  refused(t, at(now + 37 * dayMs + 1), /expired on/, 'and not a moment more');
  refused(t, verifyChain(chain, bundle, 'client', { now: now + 30 * dayMs + 1 }), /expired on/, 'without a grace');
  refused(t, at(now - hourMs), /not valid before/, 'the grace is for what has expired alone');

  const brief = makeTestAuthority(now, { lifetimes: { issuingMs: hourMs, configMs: hourMs } });
  const late = { now: now + 2 * hourMs, expiredToleranceMs: 7 * dayMs };
  const long = leaf({}, open(brief.state.issuingPem, brief.state.issuingKeyPem));
  const underOld = [long, new X509Certificate(brief.state.issuingPem)];
  refused(t, verifyChain(underOld, brief.authority.bundle, 'client', late), /expired on/, 'an issuing authority');
  const signer = [new X509Certificate(brief.state.configPem)];
  refused(t, verifyChain(signer, brief.authority.bundle, 'signing', late), /expired on/, 'a configuration signer');
});

t.test('a revoked serial number refuses the chain wherever it stands in it', async t => {
  const chain = chainOf(node('a'));
  const without = (serial: string | undefined) =>
    verifyChain(chain, bundle, 'client', { now, revoked: new Set([serial ?? '']) });
  t.ok(without(node('b').serial).ok, "another's");
  for (const certificate of [...chain, root.certificate]) {
    refused(t, without(certificate.serialNumber), /is revoked/, `${certificate.subject}`);
  }
  const late = { now: now + 31 * dayMs, expiredToleranceMs: 7 * dayMs, revoked: new Set([node('b').serial]) };
  t.ok(verifyChain(chain, bundle, 'client', late).ok);
  const revoked = new Set([chain[0]?.serialNumber ?? '']);
  refused(t, verifyChain(chain, bundle, 'client', { ...late, revoked }), /is revoked/, 'no grace for it');
  const signer = new X509Certificate(state.configPem);
  refused(
    t,
    verifyChain([signer], bundle, 'signing', { now, revoked: new Set([signer.serialNumber]) }),
    /is revoked/,
    'a signer',
  );
});

t.test('a leaf issues nothing', async t => {
  const keys = generateKeyPair();
  const plain = leaf({}, issuing, keys);
  const below = leaf(
    { names: [{ kind: 'uri', value: `spiffe://${trustDomain}/master` }] },
    { certificate: plain, privateKey: keys.privateKey },
  );
  const result = verifyChain([below, plain, issuing.certificate], bundle, 'client', moment);
  refused(t, result, /does not end in a trusted root|no authority/, 'signed by a node');

  const withoutSign = subAuthority({ keyUsage: ['digitalSignature'] }, root);
  refused(
    t,
    verifyChain([leaf({}, withoutSign), withoutSign.certificate], bundle, 'client', moment),
    /root|no authority/,
    'CA:TRUE without keyCertSign',
  );
  const withoutCa = { certificate: leaf({ keyUsage: ['keyCertSign'] }, root, keys), privateKey: keys.privateKey };
  refused(
    t,
    verifyChain([leaf({}, withoutCa), withoutCa.certificate], bundle, 'client', moment),
    /root|no authority/,
    'keyCertSign without CA:TRUE',
  );
});

t.test('an authority has no more below it than it may', async t => {
  const second = subAuthority({}, issuing);
  const chain = [leaf({}, second), second.certificate, issuing.certificate];
  refused(t, verifyChain(chain, bundle, 'client', moment), /more below it than it may/, 'under the issuing authority');
});

t.test('an authority is no peer, and a certificate serves only what it is for', async t => {
  const check = (odd: Partial<CertificateTemplate>, usage: Usage) =>
    verifyChain([leaf(odd), issuing.certificate], bundle, usage, moment);
  refused(t, check({ pathLength: 0, keyUsage: ['digitalSignature'] }, 'client'), /an authority is no peer/, 'CA:TRUE');
  refused(t, check({ keyUsage: ['keyCertSign'] }, 'client'), /key usage/, 'keyCertSign alone');
  refused(t, check({ keyUsage: ['digitalSignature', 'keyCertSign'] }, 'client'), /key usage/, 'keyCertSign too');
  refused(t, check({ extendedKeyUsage: ['serverAuth'] }, 'client'), /not for a TLS client/, 'a server as client');
  refused(t, check({ extendedKeyUsage: ['clientAuth'] }, 'server'), /not for a TLS server/, 'a client as server');
  refused(t, check({ extendedKeyUsage: [] }, 'server'), /not for a TLS server/, 'nothing said');
  refused(
    t,
    verifyChain([leaf({}, root)], bundle, 'signing', moment),
    /does not sign configuration/,
    'a peer as signer',
  );
  t.ok(check({ extendedKeyUsage: ['serverAuth'] }, 'server').ok);
  refused(t, check({ extendedKeyUsage: [] }, 'signing'), /trusted root/, 'a signer by the issuing authority');
  t.ok(verifyChain([leaf({ extendedKeyUsage: [] }, root)], bundle, 'signing', moment).ok, 'a signer by the root');
});

t.test('the configuration signer is for signing alone', async t => {
  const chain = [new X509Certificate(state.configPem)];
  t.match(verifyChain(chain, bundle, 'signing', moment), { ok: true, peer: { id: { kind: 'config' } } });
  refused(t, verifyChain(chain, bundle, 'client', moment), /not for a TLS client/, 'as a client');
});

t.test('what is critical and unknown refuses the certificate, what is not critical does not', async t => {
  const odd = (critical: boolean) => {
    const extensions = [...peerExtensions(nodeUri), oddExtension('1.2.3.4', Buffer.from('0500', 'hex'), critical)];
    return [oddCertificate(issuing, now, extensions), issuing.certificate];
  };
  refused(t, verifyChain(odd(true), bundle, 'client', moment), /critical extension 1\.2\.3\.4/, 'critical');
  t.ok(verifyChain(odd(false), bundle, 'client', moment).ok);
});

t.test('a chain of too many certificates is refused before any work', async t => {
  const chain = Array.from({ length: 9 }, () => issuing.certificate);
  refused(t, verifyChain(chain, bundle, 'client', moment), /at most 8/, 'nine');
});

t.test('in a roll-over an old and a new root are in force together', async t => {
  const next = makeTestAuthority(now);
  const both = readTrustBundle(trustDomain, [state.rootPem, next.state.rootPem]);
  t.ok(verifyChain(chainOf(node('a')), both, 'client', moment).ok);
  t.ok(verifyChain(chainOf(next.node('a')), both, 'client', moment).ok);
  t.throws(() => readTrustBundle(trustDomain, ['nothing']), { code: 'INVALID_INPUT', message: /trusted root/ });
});

t.test('who joins believes the master whose root the join string names', async t => {
  const chain = chainOf(server());
  const result = verifyPinned(chain, authority.rootSha256, moment);
  t.match(result, { ok: true, peer: { id: { kind: 'master', trustDomain } } }, 'and learns the trust domain');
  refused(
    t,
    verifyPinned(chain, sha256Hex('another'), moment),
    /no chain to the root that the join string names/,
    'another root',
  );
  refused(
    t,
    verifyPinned(chain.slice(0, 2), authority.rootSha256, moment),
    /no chain to the root/,
    'a root that is not shown',
  );
  refused(t, verifyPinned([], authority.rootSha256, moment), /no chain/, 'nothing');
  refused(t, verifyPinned(chain, authority.rootSha256, { now: now + 400 * dayMs }), /expired on/, 'expired');
});

t.test('who joins believes a broker of the same root, and no node', async t => {
  const own = makeTestAuthority(now, { trustDomain });
  const { rootSha256, rootPem } = own.authority;
  const id = { kind: 'broker', trustDomain };
  t.match(verifyPinned(chainOf(own.broker()), rootSha256, moment), { ok: true, peer: { id } });
  const chain = [...chainOf(own.node('a')), new X509Certificate(rootPem)];
  refused(t, verifyPinned(chain, rootSha256, moment), /not the master/, 'a node, and all of its chain');
});

t.test('a rogue that shows the real root beside its own chain is refused', async t => {
  const rogue = makeTestAuthority(now);
  const chain = [...chainOf(rogue.server()).slice(0, 2), root.certificate];
  refused(t, verifyPinned(chain, authority.rootSha256, moment), /does not end in a trusted root/, 'rogue');
  refused(
    t,
    verifyPinned([root.certificate], authority.rootSha256, moment),
    /no chain to the root/,
    'the root as leaf',
  );
});

t.test('a node of the same fleet does not pass for the master', async t => {
  const chain = [...chainOf(node('a')), root.certificate];
  refused(t, verifyPinned(chain, authority.rootSha256, moment), /not the master/, 'node');
});

import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dayMs, hourMs } from '../../src/base/clock.ts';
import { createAuthority, createGeneration } from '../../src/identity/authority-state.ts';
import { readCertificates } from '../../src/identity/certificate.ts';
import {
  assignRoles,
  type Generation,
  isOver,
  joinGenerations,
  type OpenGeneration,
  openGenerations,
} from '../../src/identity/generations.ts';
import { generateKeyPair } from '../../src/identity/keys.ts';
import { createRequest } from '../../src/identity/request.ts';
import { openRoot, type RootState } from '../../src/identity/root.ts';
import { readTrustBundle, type Usage, verifyChain, verifyPinned } from '../../src/identity/verify.ts';
import { openssl, opensslMissing } from '../fixtures/openssl.ts';

const now = Date.UTC(2030, 0, 1);
const trustDomain = 'test.mesolite';
const settings = { trustDomain };
const none: ReadonlySet<string> = new Set();
const nodeUri = `spiffe://${trustDomain}/node/a`;

const old = createAuthority(settings, now);
const first: Generation = { ...old, usedFrom: now };

/** Another generation: by the same root, or by a new one that the old one certifies. */
function next(usedFrom: number | null, at: number, root: RootState = old): Generation {
  const before = root === old ? undefined : openRoot(old, settings, at);
  return { ...createGeneration(openRoot(root, settings, at), settings, at, before), usedFrom };
}

const csr = (uri: string) => createRequest(uri, generateKeyPair());

function joined(generations: readonly Generation[], at: number) {
  const all = openGenerations(generations, settings);
  const roles = assignRoles(all, at, none);
  if (roles === undefined) throw new Error('nobody issues');
  return { all, roles, authority: joinGenerations(() => ({ all, roles })) };
}

function isGood(chainPem: string, roots: readonly string[], usage: Usage, at: number): boolean {
  const bundle = readTrustBundle(trustDomain, roots);
  return verifyChain(readCertificates(chainPem, 'chain'), bundle, usage, { now: at }).ok;
}

/** `openssl verify` of the first certificate of a chain, with the others as helpers, trusting `rootPem` alone. */
function opensslVerify(t: Test, chainPem: string, rootPem: string, at: number) {
  const [leaf, ...others] = readCertificates(chainPem, 'chain');
  const dir = t.testdir({
    'root.pem': rootPem,
    'leaf.pem': String(leaf),
    'others.pem': others.map(String).join(''),
  });
  const file = (name: string) => join(dir, name);
  const args = ['verify', '-x509_strict', '-attime', String(at / 1000), '-CAfile', file('root.pem')];
  return openssl([...args, '-untrusted', file('others.pem'), file('leaf.pem')]);
}

t.test('two generations by one root are in force together, and each leaf verifies by the root', async t => {
  const later = now + 240 * dayMs;
  const second = next(later, later);
  const { authority } = joined([first, second], later);
  t.same([authority.roots.length, authority.signers.length, authority.issuers.length], [1, 2, 2]);
  const before = joined([first], now).authority.issueNode(csr(nodeUri), 'a', later);
  const after = authority.issueNode(csr(nodeUri), 'a', later);
  for (const { chainPem } of [before, after]) {
    t.ok(isGood(chainPem, authority.roots, 'client', later));
    if (!opensslMissing) t.equal(opensslVerify(t, chainPem, old.rootPem, later).status, 0);
  }
  const [leafAlone = ''] = readCertificates(before.chainPem, 'chain').map(String);
  t.ok(
    verifyChain(readCertificates(leafAlone, 'leaf'), authority.bundle, 'client', { now: later }).ok,
    'a leaf that comes alone, as from a resumed session, finds its authority among all',
  );
});

t.test('the newest that may issues, the oldest that is not near its end signs', async t => {
  const later = now + 240 * dayMs;
  const all = openGenerations([first, next(later + hourMs, later)], settings);
  const [a, b] = all;
  const roles = (at: number, revoked = none) => {
    const found = assignRoles(all, at, revoked);
    const name = (each: OpenGeneration | undefined) => (each === a ? 'first' : each === b ? 'second' : 'none');
    return [name(found?.issuing), name(found?.signing)];
  };
  t.same(roles(later), ['first', 'first'], 'announced');
  t.same(roles(later + hourMs), ['second', 'first'], 'who was away knows the first signer');
  t.same(roles(now + 330 * dayMs), ['second', 'first']);
  t.same(roles(now + 340 * dayMs), ['second', 'second'], 'before the first one ends');
  t.same(roles(now + 366 * dayMs), ['second', 'second']);
  t.same(roles(now + 2000 * dayMs), ['second', 'second'], 'also when all is over: what it issues says so');
  t.same(roles(now - hourMs), ['none', 'none'], 'nobody before it may');
  t.same(roles(later + hourMs, new Set([a?.config.serialNumber ?? ''])), ['second', 'second'], 'a revoked signer');
  t.same(roles(later + hourMs, new Set([b?.issuing.serialNumber ?? ''])), ['first', 'first'], 'a revoked authority');
  t.same([a && isOver(a, now + 364 * dayMs), a && isOver(a, now + 366 * dayMs)], [false, true]);
});

t.test('a new root is reached from the old one by a bridge, and from itself', { skip: opensslMissing }, async t => {
  const later = now + hourMs;
  const root = createAuthority(settings, later);
  const { authority } = joined([first, next(later, later, root)], later);
  t.same(authority.roots, [old.rootPem, root.rootPem]);
  const node = authority.issueNode(csr(nodeUri), 'a', later).chainPem;
  const server = authority.issueServer(csr(`spiffe://${trustDomain}/master`), ['localhost'], later).chainPem;
  for (const [name, chain, usage] of [
    ['node', node, 'client'],
    ['master', server, 'server'],
  ] as const) {
    for (const trusted of [old.rootPem, root.rootPem]) {
      t.ok(isGood(chain, [trusted], usage, later), `${name} by either root`);
      const run = opensslVerify(t, chain, trusted, later);
      t.equal(run.status, 0, `${name}: ${run.text}`);
    }
  }
  t.notOk(isGood(node, [createAuthority(settings, later).rootPem], 'client', later), 'not by a third');
  const earlier = joined([first], now).authority.issueNode(csr(nodeUri), 'a', now).chainPem;
  t.ok(isGood(earlier, authority.roots, 'client', later), 'what the old one issued holds');
});

t.test('a join string of before a roll-over is good until the old root is retired', async t => {
  const later = now + hourMs;
  const root = createAuthority(settings, later);
  const second = next(later, later, root);
  const pin = joined([first], now).authority.rootSha256;
  const chainBy = (generations: readonly Generation[]) => {
    const { authority } = joined(generations, later);
    const { chainPem } = authority.issueServer(csr(`spiffe://${trustDomain}/master`), ['localhost'], later);
    return { chain: readCertificates(chainPem, 'chain'), pin: authority.rootSha256 };
  };
  const during = chainBy([first, second]);
  t.ok(verifyPinned(during.chain, pin, { now: later }).ok, 'of before');
  t.ok(verifyPinned(during.chain, during.pin, { now: later }).ok, 'of now');
  t.not(during.pin, pin);
  const after = chainBy([second]);
  t.notOk(verifyPinned(after.chain, pin, { now: later }).ok, 'of before, when the old root is retired');
  t.equal(after.chain.length, 3, 'and nothing of it is shown any more');
});

t.test('a signer is the appointee of its own root alone, bridge or not', async t => {
  const later = now + hourMs;
  const root = createAuthority(settings, later);
  const { all } = joined([first, next(later, later, root)], later);
  const signer = String(all[1]?.config);
  t.ok(isGood(signer, [root.rootPem], 'signing', later));
  t.notOk(isGood(signer, [old.rootPem], 'signing', later));
  const bridged = signer + (all[1]?.state.bridgePem ?? '');
  t.notOk(isGood(bridged, [old.rootPem], 'signing', later));
});

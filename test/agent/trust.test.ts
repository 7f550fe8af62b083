import { X509Certificate } from 'node:crypto';
import t, { type Test } from 'tap';
import { openTrust } from '../../src/agent/trust.ts';
import { Background } from '../../src/base/background.ts';
import { dayMs, hourMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import { openEnvelope, sealEnvelope } from '../../src/model/envelope.ts';
import { messageBounds } from '../../src/model/message.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { makeTestAuthority, type TestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const trustDomain = 'test.mesolite';
const [old, next, foreign] = [makeTestAuthority(now), makeTestAuthority(now), makeTestAuthority(now)];

function listsOf(...authorities: readonly TestAuthority[]) {
  return {
    roots: authorities.flatMap(({ authority }) => authority.roots),
    signers: authorities.flatMap(({ authority }) => authority.signers),
    issuers: authorities.flatMap(({ authority }) => authority.issuers),
    revoked: [] as string[],
  };
}

async function openAt(t: Test, directory: string = t.testdir({})) {
  const files = await openFiles(directory);
  const clock = new FakeClock(now);
  const background = new Background(silentLog);
  const { roots, signers } = listsOf(old);
  const trust = await openTrust(
    { files, clock, log: silentLog, moment: () => ({ now: clock.now() }), inBackground: background.run },
    { trustDomain, roots, signers, chainPem: old.node('a').chainPem },
  );
  return { trust, clock, directory, background };
}

/** Is what `authority` signs believed? */
function believes(trust: Awaited<ReturnType<typeof openAt>>['trust'], { authority }: TestAuthority): boolean {
  const body = { kind: 'ask', subject: 'a', revision: 1, issuedAt: now, expiresAt: now + hourMs, body: {} } as const;
  try {
    openEnvelope(sealEnvelope(body, authority.signer), trust.current.value.verify, messageBounds.down);
    return true;
  } catch {
    return false;
  }
}

t.test('a node begins with the trust of its join', async t => {
  const { trust } = await openAt(t);
  t.equal(trust.revision, 0);
  t.ok(believes(trust, old));
  t.notOk(believes(trust, next));
});

t.test('a manifest brings a new authority beside the old one, and later takes the old one away', async t => {
  const { trust, background } = await openAt(t);
  trust.take(listsOf(old, next), 1);
  t.ok(believes(trust, old));
  t.ok(believes(trust, next));
  trust.take(listsOf(next), 2);
  t.notOk(believes(trust, old));
  t.ok(believes(trust, next));
  await background.settled();
});

t.test('a manifest that would leave nobody to believe changes nothing', async t => {
  const { trust } = await openAt(t);
  const { roots, issuers, revoked } = listsOf(old);
  const { signers } = listsOf(foreign);
  t.throws(() => trust.take({ roots, signers, issuers, revoked }, 1), { code: 'UNTRUSTED' });
  t.throws(() => trust.take({ roots: ['no certificate'], signers, issuers, revoked }, 1), { code: 'INVALID_INPUT' });
  t.equal(trust.revision, 0);
  t.ok(believes(trust, old));
});

t.test('a manifest cannot name as signer one whose certificate it revokes', async t => {
  const { trust } = await openAt(t);
  const lists = listsOf(old);
  const revoked = lists.signers.map(pem => new X509Certificate(pem).serialNumber);
  t.throws(() => trust.take({ ...lists, revoked }, 1), { code: 'UNTRUSTED' });
});

t.test('what changed is on the disk for the next start, also when the signer of the join is gone', async t => {
  const { trust, directory, background } = await openAt(t);
  trust.take({ ...listsOf(next), revoked: ['0A'] }, 7);
  await background.settled();
  const again = await openAt(t, directory);
  t.equal(again.trust.revision, 7);
  t.same([...again.trust.current.value.revoked], ['0A']);
  t.ok(believes(again.trust, next));
  t.notOk(believes(again.trust, old));
});

t.test('a manifest that changes nothing is written every six hours at most', async t => {
  const { trust, directory, clock, background } = await openAt(t);
  const revisionOnDisk = async () => {
    await background.settled();
    return (await openAt(t, directory)).trust.revision;
  };
  trust.take(listsOf(old), 1);
  t.equal(await revisionOnDisk(), 1, 'the issuers were news');
  trust.take(listsOf(old), 2);
  t.equal(await revisionOnDisk(), 1);
  await clock.advance(6 * hourMs);
  trust.take(listsOf(old), 3);
  t.equal(await revisionOnDisk(), 3);
});

t.test('only what changed is told: a manifest that says the same swaps nothing', async t => {
  const { trust, background } = await openAt(t);
  trust.take(listsOf(old), 1);
  const { bundle } = trust.current.value;
  let swaps = 0;
  trust.current.watch(() => swaps++);
  trust.take(listsOf(old), 2);
  t.equal(swaps, 0);
  trust.take({ ...listsOf(old), revoked: ['0B'] }, 3);
  t.equal(swaps, 1);
  t.equal(trust.current.value.bundle, bundle, 'the authorities are the same');
  await background.settled();
});

t.test('a damaged file is as none: the trust of the join holds', async t => {
  const { trust } = await openAt(t, t.testdir({ trust: 'what a bad card gives' }));
  t.ok(believes(trust, old));
});

t.test('an expired signer is not believed', async t => {
  const { trust, clock } = await openAt(t);
  clock.setNow(now + 400 * dayMs);
  t.notOk(believes(trust, old));
});

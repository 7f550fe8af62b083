import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { makeCertificates } from '../../src/agent/certificates.ts';
import { dayMs, secondMs } from '../../src/base/clock.ts';
import { openFiles } from '../../src/device/files.ts';
import type { TlsIdentity } from '../../src/identity/contexts.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeTestAuthority, type TestAuthority } from '../fixtures/test-authority.ts';

const own = 'spiffe://test.mesolite/node/pi-1';
const web = 'spiffe://test.mesolite/ns/default/sa/web';
const db = 'spiffe://test.mesolite/ns/default/sa/db';

interface Start {
  readonly authority?: TestAuthority;
  readonly clock?: FakeClock;
  readonly directory?: string;
  readonly isUp?: boolean;
  readonly random?: () => number;
}

/** The certificates of an agent, and a master that answers what it asks for when it is told to. */
async function open(t: Test, start: Start = {}) {
  const { clock = new FakeClock(), directory = t.testdir() } = start;
  const authority = start.authority ?? makeTestAuthority(clock.now());
  const words = new AgentWords({ clock });
  const log = new CapturedLog();
  const link = { isUp: start.isUp ?? true, question: undefined as string | undefined };
  const issued: string[] = [];
  let ids = 0;
  const certificates = makeCertificates({
    sender: words.sender,
    files: await openFiles(directory),
    bundle: () => authority.authority.bundle,
    moment: () => ({ now: clock.now() }),
    clock,
    random: start.random ?? (() => 0),
    newId: () => `request-${++ids}`,
    log,
    isUp: () => link.isUp,
    question: () => link.question,
    onIssued: async (spiffeId: string, _: TlsIdentity) => void issued.push(spiffeId),
  });
  /** Answers all that was asked for since the last time; returns what it was. */
  const answer = async (by = authority) => {
    const requests = words.take('csr');
    for (const { id, spiffeId, csr } of requests) {
      const der = Buffer.from(csr, 'base64');
      const { issueNode, issueWorkload } = by.authority;
      const { chainPem } =
        spiffeId === own ? issueNode(der, 'pi-1', clock.now()) : issueWorkload(der, spiffeId, clock.now());
      await certificates.onAnswer({ id, chain: chainPem });
    }
    return requests.map(request => request.spiffeId);
  };
  return { authority, clock, directory, words, log, link, issued, certificates, answer };
}

t.test('a workload that comes here gets a certificate with a key that never leaves the node', async t => {
  const { certificates, answer, issued, words } = await open(t);
  await certificates.want(new Set([web]));
  t.equal(certificates.get(web), undefined);
  t.notMatch(Buffer.from(words.words[0]?.payload ?? []).toString(), /PRIVATE/);
  t.same(await answer(), [web]);
  t.match(certificates.get(web)?.keyPem, /PRIVATE KEY/);
  t.match(certificates.get(web)?.chainPem, /CERTIFICATE/);
  t.same(issued, [web]);
  await certificates.want(new Set([web]));
  t.same(await answer(), [], 'it is asked for once');
});

t.test(
  'the node’s own is asked for although the clock says that it holds, when the broker takes it for expired',
  async t => {
    const { certificates, answer, authority, link, words, issued } = await open(t);
    certificates.put(own, authority.node('pi-1'));
    certificates.check();
    t.same(await answer(), []);
    link.question = 'what time is it';
    certificates.renewOwn();
    t.match(words.take('csr'), [{ spiffeId: own, nonce: 'what time is it' }], 'with the question for the time');
    t.same(issued, []);
    certificates.put(own, authority.node('pi-1'));
  },
);

t.test(
  'told to renew, a node does so for all that it has at a moment of its choice, once, and not what is new',
  async t => {
    const { certificates, authority, answer, clock } = await open(t, { random: () => 0.5 });
    const { signal } = new AbortController();
    certificates.put(own, authority.node('pi-1'));
    await certificates.want(new Set([web]));
    t.same(await answer(), [web]);
    const told = [certificates.renewAll(10_000, signal), certificates.renewAll(10_000, signal)];
    await clock.advance(4_999);
    t.same(await answer(), [], 'a fleet that is told together does not come together');
    await certificates.want(new Set([web, db]));
    t.same(await answer(), [db]);
    await clock.advance(1);
    await Promise.all(told);
    t.same(await answer(), [own, web].sort().reverse());
    certificates.check();
    t.same(await answer(), []);
  },
);

t.test('a node that stops before its moment asks for nothing', async t => {
  const { certificates, authority, answer } = await open(t, { random: () => 0.5 });
  certificates.put(own, authority.node('pi-1'));
  const power = new AbortController();
  const told = certificates.renewAll(10_000, power.signal);
  power.abort();
  await told;
  t.same(await answer(), []);
});

t.test('after a start the certificates are there from the disk, and are not asked for', async t => {
  const first = await open(t);
  await first.certificates.want(new Set([web]));
  await first.answer();
  const { certificates, answer } = await open(t, first);
  await certificates.load();
  t.same(certificates.get(web), first.certificates.get(web), 'before anybody asks for it');
  await certificates.want(new Set([web]));
  t.same(await answer(), []);
});

t.test('a certificate goes, from the disk too, with the last task that needs it', async t => {
  const { certificates, answer, directory } = await open(t);
  await certificates.want(new Set([web, db]));
  t.same(await answer(), [web, db]);
  t.equal(readdirSync(directory).length, 2);
  await certificates.want(new Set([db]));
  t.equal(certificates.get(web), undefined);
  t.equal(readdirSync(directory).length, 1);
  await certificates.want(new Set([web, db]));
  t.same(await answer(), [web], 'when it comes back it is asked for again');
});

t.test('it is renewed at two thirds of its life, and a new key is in force from then on', async t => {
  const { certificates, answer, clock, issued, words } = await open(t);
  const ended = new AbortController();
  await certificates.want(new Set([web]));
  await answer();
  const before = certificates.get(web);
  const run = certificates.run(ended.signal);
  await clock.advance(0.66 * dayMs);
  t.same(words.words, []);
  while (words.words.length === 0 && clock.monotonic() < dayMs) await clock.advance(30 * secondMs);
  t.ok(clock.monotonic() < 0.67 * dayMs);
  t.same(await answer(), [web]);
  t.same(issued, [web, web]);
  t.not(certificates.get(web)?.keyPem, before?.keyPem);
  await clock.advance(0.6 * dayMs);
  t.same(words.words, [], 'and the next time after as long again');
  ended.abort();
  await run;
});

t.test('the node’s own certificate is renewed, too, and is not kept here', async t => {
  const { certificates, answer, clock, issued, authority, directory } = await open(t);
  const identity = authority.node('pi-1');
  certificates.put(own, identity);
  t.equal(certificates.get(own)?.keyPem, identity.keyPem);
  certificates.check();
  t.same(await answer(), []);
  await clock.advance(Math.ceil(0.7 * (identity.notAfter - clock.now())));
  certificates.check();
  t.same(await answer(), [own]);
  t.same(issued, [own]);
  t.same(readdirSync(directory), [], 'its owner stores it with the rest of its identity');
});

t.test('a request without an answer is made again, and the answer to the first one is late', async t => {
  const { certificates, clock, words, authority } = await open(t);
  await certificates.want(new Set([web]));
  const [first] = words.take('csr');
  certificates.check();
  t.same(words.take('csr'), [], 'not at once');
  await clock.advance(15 * secondMs);
  certificates.check();
  t.equal(words.take('csr').length, 1);
  const { chainPem } = authority.authority.issueWorkload(Buffer.from(first?.csr ?? '', 'base64'), web, clock.now());
  await certificates.onAnswer({ id: first?.id ?? '', chain: chainPem });
  t.equal(certificates.get(web), undefined);
});

t.test('while the link is down nothing is asked for; when it is up again all that is missing', async t => {
  const { certificates, answer, link } = await open(t, { isUp: false });
  await certificates.want(new Set([web, db]));
  t.same(await answer(), []);
  link.isUp = true;
  certificates.check();
  t.same(await answer(), [web, db]);
});

t.test('a refusal is logged with its reason, and the next look asks again', async t => {
  const { certificates, words, log } = await open(t);
  await certificates.want(new Set([web]));
  const [request] = words.take('csr');
  await certificates.onAnswer({ id: request?.id ?? '', error: 'no task of it' });
  t.match(log.all('the master gives no certificate'), [{ fields: { spiffeId: web, reason: 'no task of it' } }]);
  certificates.check();
  t.equal(words.take('csr').length, 1);
});

t.test('a certificate that is not for this key, this id or by this authority is not used', async t => {
  const { certificates, words, authority, clock, answer, log } = await open(t);
  await certificates.want(new Set([web]));
  const [request] = words.take('csr');
  const { chainPem } = authority.workload(web);
  await certificates.onAnswer({ id: request?.id ?? '', chain: chainPem });
  t.equal(certificates.get(web), undefined, 'another key');

  certificates.check();
  await answer(makeTestAuthority(clock.now()));
  t.equal(certificates.get(web), undefined, 'another authority');

  certificates.put(own, authority.workload(web));
  t.equal(certificates.get(own), undefined, 'another id');

  certificates.check();
  const [again, forNode] = words.take('csr');
  t.equal(forNode?.spiffeId, own, 'what does not hold is asked for anew');
  await certificates.onAnswer({ id: again?.id ?? '', chain: 'no certificate at all' });
  t.equal(certificates.get(web), undefined);
  t.equal(log.all('a certificate does not hold; another is asked for').length, 4);
});

t.test('one that expired while the node was off, or a file that is damaged, is asked for anew', async t => {
  const first = await open(t);
  await first.certificates.want(new Set([web]));
  await first.answer();
  const late = await open(t, { ...first, clock: new FakeClock(first.clock.now() + 2 * dayMs) });
  await late.certificates.load();
  await late.certificates.want(new Set([web]));
  t.equal(late.certificates.get(web), undefined);
  t.same(await late.answer(), [web]);
  t.ok(late.certificates.get(web));

  for (const name of readdirSync(late.directory)) writeFileSync(join(late.directory, name), 'no such thing');
  const damaged = await open(t, late);
  await damaged.certificates.load();
  await damaged.certificates.want(new Set([web, db]));
  t.same(await damaged.answer(), [web, db]);
});

t.test('what is wanted changes quickly: the last word counts', async t => {
  const first = await open(t);
  await first.certificates.want(new Set([web]));
  await first.answer();
  const { certificates, answer } = await open(t, first);
  await certificates.load();
  await Promise.all([[web], [], [web, db], [db]].map(ids => certificates.want(new Set(ids))));
  t.equal(certificates.get(web), undefined);
  await answer();
  t.equal(certificates.get(web), undefined, 'also when its answer comes late');
  t.ok(certificates.get(db));
});

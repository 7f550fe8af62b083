import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dayMs, minuteMs } from '../../src/base/clock.ts';
import { openCertificateBook } from '../../src/master/certificate-book.ts';
import { openStore } from '../../src/store/store.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

async function makeBook(t: Test) {
  const clock = new FakeClock();
  const store = await openStore({ path: join(t.testdir(), 'db') });
  t.teardown(() => store.close());
  const { state, node, workload, server, broker } = makeTestAuthority(clock.now());
  const events: string[] = [];
  const told: string[][] = [];
  const inUse = new Set<string>();
  const running = new Set<string>();
  const open = () =>
    openCertificateBook({
      certificates: store.certificates,
      clock,
      events: { record: (kind, event) => void events.push(`${kind} ${event.node ?? '-'}: ${event.message}`) },
      inUse: () => inUse,
      runs: async (node, { serviceAccount }) => running.has(`${node} ${serviceAccount}`),
      onRevoked: async records => void told.push(records.map(({ serial }) => serial)),
    });
  return { clock, state, node, workload, server, broker, events, told, inUse, running, open, book: await open() };
}

const later = (clock: FakeClock, ms: number) => clock.setNow(clock.now() + ms);

t.test('a certificate is valid, then expiring, then expired, and a newer one takes its place', async t => {
  const { book, clock, node } = await makeBook(t);
  const states = async () => (await book.list({ all: true })).map(({ state }) => state);
  await book.record(node('a').chainPem, 'a');
  t.same(await states(), ['valid']);
  later(clock, 22 * dayMs);
  t.same(await states(), ['valid']);
  later(clock, dayMs);
  t.same(await states(), ['expiring']);
  later(clock, 7 * dayMs);
  t.same(await states(), ['expired']);
  t.equal((await book.list({ all: false })).length, 1, 'a node that did not renew is of interest');
  await book.record(node('a', clock.now()).chainPem, 'a');
  t.same(await states(), ['valid', 'replaced']);
  t.same(
    (await book.list({ all: false })).map(({ state }) => state),
    ['valid'],
  );
});

t.test('each kind is told from what stands in it', async t => {
  const { book, state, node, workload, server } = await makeBook(t);
  for (const chain of [state.rootPem, state.issuingPem + state.rootPem, state.configPem + state.rootPem]) {
    await book.record(chain, null);
  }
  await book.record(server().chainPem, null);
  await book.record(node('a').chainPem, 'a');
  await book.record(workload('spiffe://test.mesolite/ns/default/sa/x').chainPem, 'a');
  const list = await book.list({ all: true });
  t.same(list.map(({ kind }) => kind).sort(), ['config', 'issuing', 'master', 'node', 'root', 'workload']);
  const serialOf = (kind: string) => list.find(each => each.kind === kind)?.serial;
  const issuerOf = (kind: string) => list.find(each => each.kind === kind)?.issuer;
  t.same([issuerOf('root'), issuerOf('issuing'), issuerOf('config')], Array(3).fill(serialOf('root')));
  t.same([issuerOf('node'), issuerOf('workload'), issuerOf('master')], Array(3).fill(serialOf('issuing')));
  t.same((await book.list({ node: 'a', all: false })).map(({ kind }) => kind).sort(), ['node', 'workload']);
});

t.test('who should have renewed is said, who has renewed or runs no more is not', async t => {
  const { book, clock, node, workload, events } = await makeBook(t);
  await book.record(node('lazy').chainPem, 'lazy');
  await book.record(node('busy').chainPem, 'busy');
  await book.record(node('out').chainPem, 'out');
  await book.record(workload('spiffe://test.mesolite/ns/default/sa/x').chainPem, 'busy');
  await book.revoke({ node: 'out' });
  events.length = 0;
  later(clock, 20 * dayMs);
  await book.record(node('busy', clock.now()).chainPem, 'busy');
  await book.tend();
  t.same(events, [], 'not yet');
  later(clock, 3 * dayMs);
  await book.tend();
  t.same(events.length, 1);
  t.match(
    events[0],
    /^certificate-expiring lazy: the node has not renewed its certificate, which expires on 2030-01-31/,
  );
});

t.test('the certificate of a broker of others is nobody’s to renew but its operator’s, who is told', async t => {
  const { book, clock, broker, events } = await makeBook(t);
  await book.record(broker().chainPem, null);
  later(clock, 60 * dayMs);
  await book.tend();
  t.same(events, []);
  later(clock, 10 * dayMs);
  await book.tend();
  t.match(events, [/^certificate-expiring -: the certificate of the broker expires on 2030-/]);
});

t.test('what is revoked is in force here before it is told, and after a start', async t => {
  const { book, node, told, events, open, inUse } = await makeBook(t);
  const [first, second] = [node('a'), node('b')];
  await book.record(first.chainPem, 'a');
  await book.record(second.chainPem, 'b');
  t.match(await book.revoke({ serial: first.serial }), [{ serial: first.serial, state: 'revoked', node: 'a' }]);
  t.same([...book.revoked], [first.serial]);
  t.same(told, [[first.serial]]);
  t.match(events, [new RegExp(`certificate-revoked a: the certificate ${first.serial} of spiffe`)]);
  t.same([...(await open()).revoked], [first.serial]);
  inUse.add(second.serial);
  await t.rejects(book.revoke({ serial: second.serial }), { code: 'CONFLICT', message: /in use/ });
  await t.rejects(book.revoke({ serial: '00' }), { code: 'NOT_FOUND' });
  await t.rejects(book.revoke({ node: 'c' }), { code: 'NOT_FOUND' });
});

t.test('a node holds what it uses: its own certificate, and those of workloads that it still runs', async t => {
  const { book, node, workload, running, state, clock } = await makeBook(t);
  const issuer = new X509Certificate(state.issuingPem).serialNumber;
  const holders = async () => (await book.holders(new Set([issuer]))).sort();
  running.add('b x').add('c x');
  await book.record(node('a').chainPem, 'a');
  for (const id of ['b', 'd']) await book.record(workload('spiffe://test.mesolite/ns/default/sa/x').chainPem, id);
  t.same(await holders(), ['a', 'b'], 'the task of d has ended');
  t.same(await book.holders(new Set(['00'])), []);
  const next = makeTestAuthority(clock.now());
  await book.record(next.node('a').chainPem, 'a');
  t.same(await holders(), ['b'], 'a has another in its place, by another authority');
});

t.test('a node of which all is revoked is cut off, also after a start, until it has joined anew', async t => {
  const { book, node, workload, open } = await makeBook(t);
  const first = node('a');
  await book.recordFor('a', first.chainPem);
  await book.recordFor('a', workload('spiffe://test.mesolite/ns/default/sa/x').chainPem);
  t.equal(book.isCutOff('a'), false);
  await book.revoke({ serial: first.serial });
  t.equal(book.isCutOff('a'), true);
  t.equal((await open()).isCutOff('a'), true);
  const late = node('a').chainPem;
  await t.rejects(book.recordFor('a', late), { code: 'FORBIDDEN', message: /must join anew/ });
  t.equal(await book.knows(late), false);
  await book.record(late, 'a');
  t.equal(book.isCutOff('a'), false);
  t.equal(await book.knows(late), true);
});

t.test('a certificate that is made while its node is revoked is refused or revoked with it', async t => {
  const { book, node } = await makeBook(t);
  const states = async (of: string) => new Set((await book.list({ node: of, all: true })).map(({ state }) => state));
  for (const of of ['a', 'b']) {
    await book.record(node(of).chainPem, of);
    const renewed = () => book.recordFor(of, node(of).chainPem);
    const revoked = () => book.revoke({ node: of });
    await Promise.allSettled(of === 'a' ? [revoked(), renewed()] : [renewed(), revoked()]);
    t.same(await states(of), new Set(['revoked']));
    await t.rejects(renewed(), { code: 'FORBIDDEN' });
  }
});

t.test('a revoked serial number is named until nobody would take the certificate any more', async t => {
  const { book, clock, node, workload } = await makeBook(t);
  await book.record(node('a').chainPem, 'a');
  await book.record(workload('spiffe://test.mesolite/ns/default/sa/x').chainPem, 'a');
  await book.revoke({ node: 'a' });
  later(clock, 91 * dayMs - minuteMs);
  await book.tend();
  t.equal(book.revoked.size, 2, 'also a day of life and ninety of grace later');
  later(clock, 2 * minuteMs);
  await book.tend();
  t.equal(book.revoked.size, 1);
  later(clock, 29 * dayMs);
  await book.tend();
  t.equal(book.revoked.size, 0);
  t.same(await book.list({ all: true }), []);
});

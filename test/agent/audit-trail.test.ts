import t from 'tap';
import { journalBounds } from '../../src/agent/audit-journal.ts';
import { auditBounds } from '../../src/agent/audit-trail.ts';
import type { AccessRecord } from '../../src/model/access.ts';
import { type AuditBatch, chainStart, isIntact, numbersPerRun } from '../../src/model/audit-chain.ts';
import { accessRecord } from '../fixtures/api-views.ts';
import { type AuditNode, lastOf, startAuditNode } from '../fixtures/audit-node.ts';
import { sha256 } from '../fixtures/master-store.ts';
import { VolatileDisk } from '../fixtures/volatile-disk.ts';

const first = 3 * numbersPerRun;
const entriesOf = (batches: readonly AuditBatch[]) =>
  batches.flatMap(({ lines }) => lines.map((line): Record<string, unknown> => JSON.parse(line)));
const record = ({ trail }: AuditNode, count: number, more: Partial<AccessRecord> = {}) => {
  for (let i = 0; i < count; i++) trail.record(accessRecord(more));
};
const paths = (batches: readonly AuditBatch[]) =>
  entriesOf(batches).flatMap(({ path }) => (path === undefined ? [] : [path]));
const gapsOf = (batches: readonly AuditBatch[]) => entriesOf(batches).filter(({ mark }) => mark === 'gap');

t.test('records are chained behind the start, and handed over, each batch after the one before', async t => {
  const node = await startAuditNode(t, { disk: new VolatileDisk(), isUp: false });
  record(node, auditBounds.perBatch + 4);
  node.link.isUp = true;
  const [one, ...none] = await node.said();
  t.same(none, []);
  t.match(one, { first, previous: chainStart });
  t.match(entriesOf(one ? [one] : [])[0], { mark: 'start', allowed: 1 });
  t.equal(one?.lines.length, auditBounds.perBatch);
  t.ok(one && isIntact(one, sha256));
  t.same(await node.said(), [], 'the next one waits for the acknowledgement');

  node.trail.acknowledge(first + auditBounds.perBatch - 1);
  const [two] = await node.said(0);
  t.equal(two?.first, first + auditBounds.perBatch);
  t.equal(two?.previous, one?.head, 'the chain goes on');
  t.equal(two?.lines.length, 5);
  t.ok(two && isIntact(two, sha256));
  if (two) node.trail.acknowledge(lastOf(two));
  t.same(await node.said(60_000), [], 'all is stored');
});

t.test('a batch without an answer is said again, the same, and an answer said twice tells nothing new', async t => {
  const node = await startAuditNode(t, { disk: new VolatileDisk(), isUp: false });
  record(node, 2);
  node.link.isUp = true;
  const [batch] = await node.said();
  record(node, 1);
  const [again] = await node.said(auditBounds.repeatAfterMs);
  t.same(again?.lines.slice(0, 3), batch?.lines);
  node.trail.acknowledge(first + 2);
  t.equal((await node.said(0))[0]?.first, first + 3);
  node.trail.acknowledge(first + 2);
  t.same(await node.said(0), [], 'it is not said a second time');
});

t.test('a batch fits into one message, however long the paths are that somebody asks for', async t => {
  const node = await startAuditNode(t, { disk: new VolatileDisk() });
  const long = { path: `/${'"'.repeat(2047)}`, source: 'x'.repeat(2048), destination: 'é'.repeat(2048) };
  record(node, 100, long);
  const batches = await node.handOverAll();
  for (const batch of batches) t.ok(Buffer.byteLength(JSON.stringify(batch)) < 250 * 1024);
  t.equal(paths(batches).length, 100);
});

t.test('nothing is written while nothing happens, nor synced while the link is up', async t => {
  const disk = new VolatileDisk();
  const node = await startAuditNode(t, { disk });
  await node.handOverAll();
  const before = disk.operations;
  await node.said(10_000);
  t.equal(disk.operations, before);
  record(node, 5);
  await node.said();
  t.equal(disk.operations, before + 1, 'one append');
  node.link.isUp = false;
  await node.said();
  t.equal(disk.operations, before + 2, 'the link is down: what was written goes to the medium');
  await node.said(10_000);
  t.equal(disk.operations, before + 2);
});

t.test('on a link that is paid for a few records wait for more, a whole batch for nothing', async t => {
  const holdMs = 300_000;
  const node = await startAuditNode(t, { disk: new VolatileDisk(), holdMs });
  const [start] = await node.said();
  if (start) node.trail.acknowledge(lastOf(start));
  record(node, 3);
  t.same(await node.said(holdMs - 1_000), []);
  const [few] = await node.said(1_000);
  t.equal(few?.lines.length, 3);
  t.equal((await node.said(auditBounds.repeatAfterMs))[0]?.first, few?.first, 'what was not acknowledged is not held');
  if (few) node.trail.acknowledge(lastOf(few));
  record(node, auditBounds.perBatch);
  t.equal((await node.said())[0]?.lines.length, auditBounds.perBatch);
});

t.test('without a link what is written is synced every five seconds, not each time', async t => {
  const disk = new VolatileDisk();
  const node = await startAuditNode(t, { disk });
  await node.handOverAll();
  node.link.isUp = false;
  const before = disk.operations;
  for (let i = 0; i < 20; i++) {
    record(node, 1);
    await node.said();
  }
  t.equal(disk.operations - before, 20 + 2, 'twenty appends in ten seconds, and two syncs');
});

t.test('what was not handed over waits on the disk for the next start', async t => {
  const disk = new VolatileDisk();
  const one = await startAuditNode(t, { disk });
  one.link.isUp = false;
  record(one, 700, { path: '/one' });
  await one.said();
  await one.stop();
  const two = await startAuditNode(t, { disk, boot: 4 });
  record(two, 1, { path: '/two' });
  const batches = await two.handOverAll();
  t.same(paths(batches), [...Array.from({ length: 700 }, () => '/one'), '/two']);
  t.match(entriesOf(batches)[701], { mark: 'end' });
  t.same(gapsOf(batches), []);
  t.ok(batches.every(batch => isIntact(batch, sha256)));
  t.equal((await disk.list()).length, 1, 'and is removed when the master has it');
});

t.test('what the master acknowledges while the agent ends keeps it from nothing', async t => {
  const disk = new VolatileDisk();
  const one = await startAuditNode(t, { disk });
  record(one, 2, { path: '/one' });
  const [batch] = await one.said();
  const ended = one.stopServingLater(new Promise(resolve => setImmediate(resolve)));
  if (batch) one.trail.acknowledge(lastOf(batch));
  await ended;
  one.trail.acknowledge(first);
  const two = await startAuditNode(t, { disk, boot: 4 });
  const batches = await two.handOverAll();
  t.match(entriesOf(batches).at(-2), { mark: 'end' }, 'it ended in order');
  t.same(gapsOf(batches), []);
});

t.test('a kill shows as a gap behind what was written, once, however often it is killed again', async t => {
  const disk = new VolatileDisk();
  const one = await startAuditNode(t, { disk });
  one.link.isUp = false;
  record(one, 3, { path: '/written' });
  await one.said();
  record(one, 2, { path: '/lost' });
  one.kill();
  for (const boot of [4, 5]) {
    const node = await startAuditNode(t, { disk, boot });
    node.link.isUp = false;
    await node.said();
    node.kill();
  }
  const last = await startAuditNode(t, { disk, boot: 6 });
  const batches = await last.handOverAll();
  t.same(paths(batches), ['/written', '/written', '/written']);
  t.match(gapsOf(batches), [
    { first: first + 4, last: null, count: null, reason: 'the agent ended without notice' },
    { first: 4 * numbersPerRun + 2 },
    { first: 5 * numbersPerRun + 2 },
  ]);
});

t.test('at the bound of the disk the oldest make room, and a gap says which', async t => {
  const disk = new VolatileDisk();
  const node = await startAuditNode(t, { disk, settings: { diskBytes: 3 * journalBounds.segmentBytes } });
  node.link.isUp = false;
  for (let i = 0; i < 40; i++) {
    record(node, 100, { path: `/${i}` });
    await node.said();
  }
  const sizes = await Promise.all((await disk.list()).map(name => disk.size(name)));
  t.ok(sizes.reduce((sum, size) => sum + size, 0) <= 3.2 * journalBounds.segmentBytes, 'it stays within the bound');
  node.link.isUp = true;
  const batches = await node.handOverAll();
  const drops = node.log.all('the oldest audit records are dropped: the disk space for them is used up');
  t.ok(drops.length > 2, 'segments that told of a gap were dropped too');
  const gaps = gapsOf(batches).sort((a, b) => Number(a.first) - Number(b.first));
  let next = first;
  for (const gap of gaps) {
    t.equal(gap.first, next, 'the gaps have all that is not there');
    t.equal(gap.count, Number(gap.last) - next + 1);
    next = Number(gap.last) + 1;
  }
  t.equal(batches[0]?.first, next, 'what is there begins where they end');
  t.ok(batches.every((batch, i) => i === 0 || batch.first === lastOf(batches[i - 1] ?? batch) + 1));
});

t.test('records that come faster than the disk takes them are counted', async t => {
  const disk = new VolatileDisk();
  const node = await startAuditNode(t, { disk });
  await node.handOverAll();
  disk.failAfter(0);
  record(node, auditBounds.waiting + 7);
  await node.said();
  record(node, 3);
  await node.said();
  t.equal(node.log.all('audit records cannot be written').length, 1);
  disk.failAfter(Number.POSITIVE_INFINITY);
  const batches = await node.handOverAll();
  t.equal(paths(batches).length, auditBounds.waiting);
  t.match(gapsOf(batches), [{ count: 10, first: null, reason: 'they came faster than they could be written' }]);
  t.ok(batches.every(batch => isIntact(batch, sha256)));
});

t.test('of what was allowed and went well a share is recorded, all else in any case', async t => {
  const dice = { next: 0.9 };
  const settings = { allowed: 0.25 };
  const node = await startAuditNode(t, { disk: new VolatileDisk(), settings, dice: () => dice.next });
  record(node, 1, { path: '/left-out', verdict: 'allow', status: 200 });
  record(node, 1, { path: '/failed', verdict: 'allow', status: 503, flags: 'UF' });
  record(node, 1, { path: '/denied' });
  dice.next = 0.1;
  record(node, 1, { path: '/taken', verdict: 'allow', status: 200 });
  const batches = await node.handOverAll();
  t.same(paths(batches), ['/failed', '/denied', '/taken']);
  t.match(entriesOf(batches)[0], { mark: 'start', allowed: 0.25 });
  t.same(gapsOf(batches), []);
});

t.test('while the time is not known records say how long after the start they were, and when it is learnt', async t => {
  const node = await startAuditNode(t, { disk: new VolatileDisk(), isTimeKnown: false });
  node.link.isUp = false;
  await node.words.clock.advance(1_250);
  record(node, 1, { path: '/early' });
  await node.words.clock.advance(250);
  node.time.isKnown = true;
  await node.words.clock.advance(500);
  record(node, 1, { path: '/late' });
  node.link.isUp = true;
  t.match(entriesOf(await node.handOverAll()), [
    { mark: 'start', sinceStartMs: 0 },
    { path: '/early', sinceStartMs: 1_250 },
    { mark: 'clock', sinceStartMs: 2_000 },
    { path: '/late', sinceStartMs: undefined },
  ]);
});

t.test(
  'an agent that has handed over goes on in its own chain, which the next one takes over when it has ended',
  async t => {
    const disk = new VolatileDisk();
    const old = await startAuditNode(t, { disk, pid: 1 });
    record(old, 2, { path: '/old' });
    await old.said();
    const living = new Set([1]);
    let finish = () => {};
    const isOver = new Promise<void>(resolve => {
      finish = resolve;
    });
    // its link is closed; its proxy serves on
    const isAlive = ({ pid }: { pid: number }) => living.has(pid);
    old.link.isUp = false;
    const ending = old.stopServingLater(isOver);
    const next = await startAuditNode(t, { disk, boot: 4, pid: 2, isAlive, clock: old.words.clock });
    record(next, 1, { path: '/new' });
    record(old, 1, { path: '/late' });
    const before = await next.handOverAll();
    t.same(paths(before), ['/new'], 'what another process writes is not touched');
    finish();
    await old.words.clock.advance(500);
    await ending;
    living.clear();
    const after = await next.handOverAll();
    t.same(paths(after), ['/old', '/old', '/late']);
    t.same(gapsOf([...before, ...after]), []);
    t.match(entriesOf(after).at(-1), { mark: 'end' });
  },
);

t.test('an agent that is killed after it has handed over leaves a gap', async t => {
  const disk = new VolatileDisk();
  const old = await startAuditNode(t, { disk, pid: 1 });
  await old.said();
  const living = new Set([1]);
  const next = await startAuditNode(t, { disk, boot: 4, pid: 2, isAlive: ({ pid }) => living.has(pid) });
  t.same(gapsOf(await next.handOverAll()), []);
  record(old, 1, { path: '/lost' });
  old.kill();
  living.clear();
  t.match(gapsOf(await next.handOverAll()), [{ first: first + 1, count: null }]);
});

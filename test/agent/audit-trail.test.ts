import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { auditBounds, makeAuditTrail } from '../../src/agent/audit-trail.ts';
import type { AccessRecord } from '../../src/model/access.ts';
import { type AuditBatch, chainStart, isIntact, type Sha256 } from '../../src/model/audit-chain.ts';
import { openStore } from '../../src/store/store.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { accessRecord } from '../fixtures/api-views.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';

const sha256: Sha256 = text => createHash('sha256').update(text).digest('hex');
const boot = 3;
const first = boot * 2 ** 32;

function stage(t: Test) {
  const words = new AgentWords({ boot });
  const log = new CapturedLog();
  const link = { isUp: true };
  const ended = new AbortController();
  const parts = { sender: words.sender, clock: words.clock, log, sha256, isUp: () => link.isUp };
  const trail = makeAuditTrail(parts);
  const run = trail.run(ended.signal);
  t.teardown(async () => {
    ended.abort();
    await run;
  });
  return {
    words,
    log,
    link,
    trail,
    record: (count: number, more: Partial<AccessRecord> = {}) => {
      for (let i = 0; i < count; i++) trail.record(accessRecord(more));
    },
    /** What was said when the time for it came. */
    async said(): Promise<AuditBatch[]> {
      await words.clock.advance(auditBounds.flushEveryMs);
      return words.take('audit').map(({ batch }) => batch);
    },
  };
}

const lastOf = ({ first, lines }: AuditBatch) => first + lines.length - 1;

t.test('records are chained, and handed over in batches, each after the one before is acknowledged', async t => {
  const { record, said, trail, words } = stage(t);
  record(auditBounds.perBatch + 5);
  const [one, ...none] = await said();
  t.same(none, []);
  t.match(one, { first, previous: chainStart });
  t.equal(one?.lines.length, auditBounds.perBatch);
  t.ok(one && isIntact(one, sha256));
  t.same(await said(), [], 'the next one waits for the acknowledgement');

  trail.acknowledge(first + auditBounds.perBatch - 1);
  const [two] = await said();
  t.equal(two?.first, first + auditBounds.perBatch);
  t.equal(two?.previous, one?.head, 'the chain goes on');
  t.equal(two?.lines.length, 5);
  t.ok(two && isIntact(two, sha256));
  trail.acknowledge(lastOf(two ?? { first: 0, previous: '', head: '', lines: [] }));
  await words.clock.advance(60_000);
  t.same(words.take('audit'), [], 'all is stored');
});

t.test('full batches follow each other without a wait', async t => {
  const { record, said, trail, words } = stage(t);
  record(3 * auditBounds.perBatch);
  await said();
  trail.acknowledge(first + auditBounds.perBatch - 1);
  t.equal(words.take('audit')[0]?.batch.first, first + auditBounds.perBatch);
});

t.test('a batch without an answer is said again, the same', async t => {
  const { record, said, words, trail } = stage(t);
  record(2);
  const [batch] = await said();
  record(1);
  await words.clock.advance(auditBounds.repeatAfterMs);
  const [again] = words.take('audit');
  t.same(again?.batch.lines.slice(0, 2), batch?.lines);
  t.equal(again?.batch.first, first);
  trail.acknowledge(first + 2);
  t.same(await said(), []);
});

t.test('an acknowledgement that comes twice says nothing of the batch that is under way', async t => {
  const { record, said, trail } = stage(t);
  record(1);
  await said();
  trail.acknowledge(first);
  record(1);
  t.equal((await said())[0]?.first, first + 1);
  trail.acknowledge(first);
  t.same(await said(), [], 'it is not said a second time');
});

t.test('while the link is down records wait', async t => {
  const { record, said, link } = stage(t);
  link.isUp = false;
  record(3);
  t.same(await said(), []);
  link.isUp = true;
  t.equal((await said())[0]?.lines.length, 3);
});

t.test('a batch fits into one message, however long the paths are that somebody asks for', async t => {
  const { record, said, trail } = stage(t);
  const long = { path: `/${'"'.repeat(2047)}`, source: 'x'.repeat(2048), destination: 'é'.repeat(2048) };
  record(auditBounds.perBatch, long);
  let stored = 0;
  while (stored < auditBounds.perBatch) {
    const [batch] = await said();
    t.ok(batch && Buffer.byteLength(JSON.stringify(batch)) < 250 * 1024);
    stored += batch?.lines.length ?? Number.POSITIVE_INFINITY;
    trail.acknowledge(first + stored - 1);
  }
  t.equal(stored, auditBounds.perBatch);
});

t.test('at the bound the oldest records make room, and the master sees the gap', async t => {
  const store = await openStore({ path: `${t.testdir()}/store.db` });
  t.teardown(() => store.close());
  const { record, said, link, trail, log } = stage(t);
  record(1);
  const [before] = await said();
  t.match(before && (await store.audit.append('pi-1', before)), { outcome: 'stored', last: first });
  trail.acknowledge(first);

  link.isUp = false;
  record(auditBounds.pending + 1);
  link.isUp = true;
  const [batch] = await said();
  t.equal(batch?.first, first + 1 + auditBounds.perBatch);
  t.match(batch && (await store.audit.append('pi-1', batch)), { outcome: 'gap', last: batch && lastOf(batch) });
  const gaps = (await store.audit.query({ limit: 1000 })).filter(entry => entry.kind === 'gap');
  t.match(gaps, [{ reason: `records ${first + 1} to ${first + auditBounds.perBatch} are missing` }]);
  t.match(log.all('audit records were dropped; the gap shows in their numbers'), [
    { fields: { dropped: auditBounds.perBatch } },
  ]);
});

t.test('an agent that starts again goes on with higher numbers and a chain of its own', async t => {
  const store = await openStore({ path: `${t.testdir()}/store.db` });
  t.teardown(() => store.close());
  const outcomes: unknown[] = [];
  for (const start of [boot, boot + 1]) {
    const words = new AgentWords({ boot: start });
    const parts = { sender: words.sender, clock: words.clock, log: new CapturedLog(), sha256, isUp: () => true };
    const trail = makeAuditTrail(parts);
    const ended = new AbortController();
    const run = trail.run(ended.signal);
    trail.record(accessRecord());
    await words.clock.advance(auditBounds.flushEveryMs);
    const [message] = words.take('audit');
    outcomes.push(message && (await store.audit.append('pi-1', message.batch)));
    ended.abort();
    await run;
  }
  t.same(outcomes, [
    { outcome: 'stored', last: boot * 2 ** 32 },
    { outcome: 'gap', last: (boot + 1) * 2 ** 32 },
  ]);
});

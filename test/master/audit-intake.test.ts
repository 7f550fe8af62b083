import t, { type Test } from 'tap';
import { dayMs } from '../../src/base/clock.ts';
import { makeAuditIntake } from '../../src/master/audit-intake.ts';
import type { AuditKeeping } from '../../src/master/config.ts';
import { type AuditBatch, chainHead, chainStart } from '../../src/model/audit-chain.ts';
import { auditEntry } from '../fixtures/api-views.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { openTestStore, sha256 } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

async function stage(t: Test, keep?: AuditKeeping) {
  const { audit } = await openTestStore(t);
  const words = new MasterWords();
  const log = new CapturedLog();
  const { outgoing, clock, authority } = words;
  const intake = makeAuditIntake({ audit, authority: authority.authority, outgoing, clock, log }, keep);
  const acked = () => words.take('ack').map(({ subject, body }) => [subject, body.audit]);
  return { audit, words, log, intake, acked };
}

function batch(first: number, count: number, previous = chainStart, at = 1_000): AuditBatch {
  const lines = Array.from({ length: count }, (_, i) => {
    const entry = auditEntry(1, { at: at + i, requestId: String(first + i) });
    return JSON.stringify(entry.kind === 'record' && entry.record);
  });
  return { first, previous, lines, head: chainHead(previous, lines, sha256) };
}

t.test('records are stored, and what is stored is acknowledged', async t => {
  const { intake, acked, audit } = await stage(t);
  const one = batch(0, 3);
  await intake.onBatch('pi-1', one);
  await intake.onBatch('pi-1', batch(3, 2, one.head));
  await intake.onBatch('pi-1', one);
  t.same(acked(), [
    ['pi-1', 2],
    ['pi-1', 4],
    ['pi-1', 4],
  ]);
  t.equal((await audit.query({ limit: 10 })).entries.length, 5);
});

t.test('a gap is stored with a mark, and logged', async t => {
  const { intake, acked, audit, log } = await stage(t);
  await intake.onBatch('pi-1', batch(0, 1));
  await intake.onBatch('pi-1', batch(7, 1, 'f'.repeat(64)));
  t.same(acked().at(-1), ['pi-1', 7]);
  t.match(log.all('the audit of a node has a gap'), [{ fields: { node: 'pi-1', before: '0.7' } }]);
  t.match(
    (await audit.query({ limit: 10 })).entries.filter(entry => entry.kind === 'gap'),
    [{ node: 'pi-1', number: 6, reason: 'records 0.1 to 0.6 are missing' }],
  );
});

t.test('a batch that was tampered with is not stored, nor acknowledged', async t => {
  const { intake, acked, audit } = await stage(t);
  const honest = batch(0, 2);
  const forged = { ...honest, lines: [...honest.lines].reverse() };
  await t.rejects(intake.onBatch('pi-1', forged), { code: 'UNTRUSTED', message: /chain of pi-1 does not hold/ });
  t.same(acked(), []);
  t.same((await audit.query({ limit: 10 })).entries, []);
  await intake.onBatch('pi-1', honest);
  t.same(acked(), [['pi-1', 1]]);
});

t.test('each node has its own chain', async t => {
  const { intake, acked } = await stage(t);
  await Promise.all(['pi-1', 'pi-2', 'pi-3'].map(node => intake.onBatch(node, batch(0, 5))));
  t.same(acked().sort(), [
    ['pi-1', 4],
    ['pi-2', 4],
    ['pi-3', 4],
  ]);
});

t.test('what is older or more than is kept is forgotten, until nothing of it is left', async t => {
  const { intake, audit, words } = await stage(t, { ms: 30 * dayMs, bytes: batch(0, 2).lines.join('').length });
  const never = new AbortController().signal;
  let head = chainStart;
  for (let i = 0; i < 250; i++) {
    const each = batch(i, 1, head);
    head = each.head;
    await intake.onBatch('pi-1', each);
  }
  await intake.prune(never);
  const numbers = async () => (await audit.query({ limit: 10 })).entries.map(({ number }) => number);
  t.same(await numbers(), [249, 248]);
  await words.clock.advance(31 * dayMs);
  await intake.onBatch('pi-1', batch(250, 1, head));
  await intake.prune(never);
  t.same(await numbers(), [250]);
});

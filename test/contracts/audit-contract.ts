import { createHash } from 'node:crypto';
import type { Test } from 'tap';
import type { AccessRecord } from '../../src/model/access.ts';
import {
  type AuditBatch,
  type AuditMark,
  chainHead,
  chainStart,
  numbersPerRun,
  runOf,
} from '../../src/model/audit-chain.ts';
import type { AuditItem } from '../../src/model/audit-item.ts';
import { AuditVerifier } from '../../src/model/audit-verifier.ts';
import type { Audit, AuditFilter } from '../../src/store/audit.ts';
import type { Store } from '../../src/store/store.ts';
import { makeAuditSigner, signedAt } from '../fixtures/audit-signer.ts';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

export const accessRecord = (at: number, more: Partial<AccessRecord> = {}): AccessRecord => ({
  at,
  direction: 'inbound',
  source: 'example/ns/default/sa/client',
  destination: 'example/ns/default/sa/hello',
  sourceIp: '127.0.0.1',
  task: 'hello.default.0',
  method: 'GET',
  host: 'hello.default.mesh',
  path: '/',
  verdict: 'allow',
  rule: '-',
  status: 200,
  bytesReceived: 0,
  bytesSent: 2,
  durationMs: 1,
  requestId: 'r',
  flags: '-',
  ...more,
});

/** The entries of a run, cut into batches as wanted. */
export function chainOf(
  entries: readonly (AccessRecord | AuditMark)[],
  run = 0,
): (first: number, end: number) => AuditBatch {
  const lines = entries.map(entry => JSON.stringify(entry));
  return (first, end) => {
    const previous = chainHead(chainStart, lines.slice(0, first), sha256);
    const part = lines.slice(first, end);
    return { first: run * numbersPerRun + first, previous, head: chainHead(previous, part, sha256), lines: part };
  };
}

/** All of the audit, page by page, as an auditor gets it. */
export async function exportAudit(audit: Audit, node?: string): Promise<AuditItem[]> {
  const items: AuditItem[] = [];
  for (let after: number | undefined; ; ) {
    const page = await audit.chain({ node, after, limit: 7 });
    items.push(...page.items);
    if (page.next === null) return items;
    after = page.next;
  }
}

const { signer, parts } = makeAuditSigner();

function verify(items: readonly AuditItem[]) {
  const verifier = new AuditVerifier(parts, { isFromStart: true });
  const findings = [...items.flatMap(item => verifier.add(item)), ...verifier.end()];
  return { findings: findings.map(({ what }) => what), checked: verifier.checked() };
}

export async function auditContract(t: Test, open: (t: Test) => Promise<Store>): Promise<void> {
  const append = ({ audit }: Store, batch: AuditBatch, { node = 'pi-1', at = signedAt } = {}) =>
    audit.append(node, batch, at, signer);
  const numbers = async ({ audit }: Store) =>
    (await audit.query({ limit: 1_000 })).entries.map(entry => (entry.kind === 'gap' ? 'gap' : entry.number));
  const cut = chainOf(Array.from({ length: 400 }, (_, i) => accessRecord(1_000 + i, { path: `/${i}` })));

  t.test('batches that follow are stored, also large ones, and read newest first', async t => {
    const store = await open(t);
    t.same(await append(store, cut(0, 3)), { outcome: 'stored', last: 2 });
    t.same(await append(store, cut(3, 400)), { outcome: 'stored', last: 399 });
    t.same(
      await numbers(store),
      Array.from({ length: 400 }, (_, i) => 399 - i),
    );
    t.match((await store.audit.query({ limit: 1 })).entries, [
      { kind: 'record', node: 'pi-1', record: { path: '/399' } },
    ]);
  });

  t.test('what is sent again is stored once, alone or with more behind it', async t => {
    const store = await open(t);
    await append(store, cut(0, 4));
    t.same(await append(store, cut(0, 4)), { outcome: 'repeated', last: 3 });
    t.same(await append(store, cut(1, 3)), { outcome: 'repeated', last: 3 });
    t.same(await append(store, cut(2, 6)), { outcome: 'stored', last: 5 });
    t.same(await numbers(store), [5, 4, 3, 2, 1, 0]);
    t.same(verify(await exportAudit(store.audit)).findings, []);
  });

  t.test('missing records leave a mark that can be seen', async t => {
    const store = await open(t);
    await append(store, cut(0, 2));
    t.same(await append(store, cut(5, 7)), { outcome: 'gap', last: 6 });
    t.same(await numbers(store), [6, 5, 'gap', 1, 0]);
    t.match((await store.audit.query({ limit: 1, verdict: 'deny' })).entries, [
      { kind: 'gap', number: 4, reason: 'records 0.2 to 0.4 are missing' },
    ]);
    t.same(await append(store, cut(7, 8)), { outcome: 'stored', last: 7 });
    t.same(verify(await exportAudit(store.audit)).findings, []);
  });

  t.test('a node tells of what it has lost by itself', async t => {
    const store = await open(t);
    const reason = 'the agent ended without notice';
    const gap = { mark: 'gap', at: 1_500, reason, first: 7, last: null, count: null } as const;
    const entries = [{ mark: 'start', at: 1_400, allowed: 1 }, gap, accessRecord(1_600)] as const;
    await append(store, chainOf(entries, 3)(0, 3));
    const { entries: seen } = await store.audit.query({ limit: 9 });
    t.match(seen, [
      { kind: 'record', number: 3 * numbersPerRun + 2 },
      { kind: 'gap', at: 1_500, reason: 'records from 0.7 on may be missing: the agent ended without notice' },
    ]);
    t.match(verify(await exportAudit(store.audit)), { findings: [], checked: [{ records: 1, gaps: 1, anchors: 1 }] });
  });

  t.test('records that do not follow begin a new chain behind a mark', async t => {
    const store = await open(t);
    const other = chainOf(Array.from({ length: 9 }, (_, i) => accessRecord(5_000 + i, { path: `/other/${i}` })));
    await append(store, cut(0, 4));
    t.same(await append(store, other(0, 2)), { outcome: 'gap', last: 1 }, 'a node that begins anew');
    t.same(await append(store, other(2, 4)), { outcome: 'stored', last: 3 });
    t.same(await append(store, cut(4, 6)), { outcome: 'gap', last: 5 }, 'another history');
    t.equal((await numbers(store)).filter(number => number === 'gap').length, 2);
    t.same(verify(await exportAudit(store.audit)).findings, []);
  });

  t.test('each start of an agent has a chain of its own, and late ones of an earlier start follow it', async t => {
    const store = await open(t);
    const records = Array.from({ length: 6 }, (_, i) => accessRecord(1_000 + i));
    const [one, two] = [chainOf(records, 1), chainOf(records, 2)];
    t.same(await append(store, one(0, 2)), { outcome: 'stored', last: numbersPerRun + 1 });
    t.same(await append(store, two(0, 2)), { outcome: 'stored', last: 2 * numbersPerRun + 1 });
    t.same(await append(store, two(0, 2)), { outcome: 'repeated', last: 2 * numbersPerRun + 1 });
    t.same(await append(store, one(2, 4)), { outcome: 'stored', last: numbersPerRun + 3 });
    t.match(await append(store, one(5, 6)), { outcome: 'gap' });
    t.same(verify(await exportAudit(store.audit)).findings, []);
  });

  t.test('a changed line is refused with its batch', async t => {
    const store = await open(t);
    const batch = cut(0, 3);
    const changed = { ...batch, lines: [...batch.lines.slice(0, 2), JSON.stringify(accessRecord(1, { status: 403 }))] };
    t.same(await append(store, changed), { outcome: 'broken', last: -1 });
    for (const line of ['{}', ` ${JSON.stringify(accessRecord(1))}`]) {
      const noRecord = { first: 0, previous: chainStart, head: chainHead(chainStart, [line], sha256), lines: [line] };
      await t.rejects(append(store, noRecord), { code: 'INVALID_INPUT' });
    }
    t.same(await numbers(store), []);
    t.same(await exportAudit(store.audit), []);
    t.same(await append(store, batch), { outcome: 'stored', last: 2 });
  });

  t.test('records are found by time, node, caller, workload and verdict', async t => {
    const store = await open(t);
    const records = [
      accessRecord(1),
      accessRecord(2, { verdict: 'deny' }),
      accessRecord(3, { source: '-', task: 'cart.shop.0-x' }),
      accessRecord(4, { verdict: 'deny' }),
    ];
    await append(store, chainOf(records)(0, 4));
    await append(store, chainOf([accessRecord(5)])(0, 1), { node: 'pi-2' });
    const times = async (filter: Partial<AuditFilter>) =>
      (await store.audit.query({ limit: 10, ...filter })).entries.map(
        entry => entry.kind === 'record' && entry.record.at,
      );
    t.same(await times({ since: 3 }), [5, 4, 3]);
    t.same(await times({ until: 3 }), [2, 1]);
    t.same(await times({ verdict: 'deny' }), [4, 2]);
    t.same(await times({ source: '-' }), [3]);
    t.same(await times({ workload: 'shop/cart' }), [3]);
    t.same(await times({ node: 'pi-2' }), [5]);
    t.same(await times({ node: 'pi-1', verdict: 'allow' }), [3, 1]);
    t.same(await times({ since: 2, verdict: 'deny', source: 'example/ns/default/sa/client' }), [4, 2]);
  });

  t.test('pages follow each other without a record twice, also of one moment', async t => {
    const { audit } = await open(t);
    const entries = Array.from({ length: 23 }, (_, i) => accessRecord(1_000 + Math.floor(i / 5)));
    await append({ audit } as Store, chainOf(entries)(0, 10));
    await append({ audit } as Store, chainOf(entries)(12, 23));
    const seen: unknown[] = [];
    let after: string | undefined;
    do {
      const page = await audit.query({ limit: 4, ...(after !== undefined && { after }) });
      seen.push(...page.entries.map(({ kind, number }) => (kind === 'gap' ? 'gap' : number)));
      after = page.next;
    } while (after !== undefined);
    const expected = [
      ...Array.from({ length: 11 }, (_, i) => 22 - i),
      'gap',
      ...Array.from({ length: 10 }, (_, i) => 9 - i),
    ];
    t.same(seen, expected);
  });

  t.test('an export has every entry and anchor, of all or of one node, and verifies', async t => {
    const store = await open(t);
    for (let i = 0; i < 12; i++) {
      await append(store, cut(i * 3, i * 3 + 3), { at: signedAt + i });
      await append(store, cut(i, i + 1), { node: 'pi-2', at: signedAt + i });
    }
    const { findings, checked } = verify(await exportAudit(store.audit));
    t.same(findings, []);
    t.match(checked, [
      { node: 'pi-1', records: 36, anchors: 12, from: '0.0', to: '0.35', prunedAt: null },
      { node: 'pi-2', records: 12, anchors: 12 },
    ]);
    const own = await exportAudit(store.audit, 'pi-2');
    t.match(verify(own), { findings: [], checked: [{ node: 'pi-2', records: 12 }] });
    const part = await store.audit.chain({ since: signedAt + 5, until: signedAt + 7, limit: 100 });
    t.same(
      part.items.flatMap(item => (item.kind === 'record' ? [`${item.node} ${item.number}`] : [])),
      ['pi-1 15', 'pi-1 16', 'pi-1 17', 'pi-2 5', 'pi-1 18', 'pi-1 19', 'pi-1 20', 'pi-2 6'],
    );
  });

  t.test('an export that a prune overtakes between two pages verifies', async t => {
    const store = await open(t);
    for (let i = 0; i < 10; i++) {
      await append(store, cut(i * 3, i * 3 + 3), { at: signedAt + i });
      await append(store, cut(i, i + 1), { node: 'pi-2', at: signedAt + i });
    }
    const first = await store.audit.chain({ limit: 7 });
    t.equal(first.items.at(-1)?.kind, 'anchor', 'a page ends with a batch');
    while (
      (await store.audit.prune({ since: signedAt + 5, bytes: Number.MAX_SAFE_INTEGER }, signedAt + 20, signer)) > 0
    );
    const items = [...first.items];
    for (let next = first.next; next !== null; ) {
      const page = await store.audit.chain({ limit: 7, after: next });
      items.push(...page.items);
      next = page.next;
    }
    t.match(verify(items), {
      findings: [],
      checked: [
        { node: 'pi-1', from: '0.0', to: '0.29' },
        { node: 'pi-2', from: '0.0', to: '0.9' },
      ],
    });
  });

  t.test('the oldest batches go, by age and by size, the chain goes on and still verifies', async t => {
    const store = await open(t);
    const size = (first: number, end: number) => cut(first, end).lines.join('').length;
    for (let i = 0; i < 10; i++) await append(store, cut(i, i + 1), { at: signedAt + i });
    const all = { since: 0, bytes: Number.MAX_SAFE_INTEGER };
    t.equal(await store.audit.prune(all, signedAt, signer), 0);
    t.equal(await store.audit.prune({ ...all, since: signedAt + 3 }, signedAt + 20, signer), 3);
    t.equal(await store.audit.prune({ ...all, bytes: size(4, 10) }, signedAt + 21, signer), 1);
    t.same(await numbers(store), [9, 8, 7, 6, 5, 4]);
    t.match(verify(await exportAudit(store.audit)), {
      findings: [],
      checked: [{ from: '0.4', to: '0.9', prunedAt: signedAt + 21 }],
    });
    const { items } = await store.audit.chain({ since: signedAt + 6, limit: 100 });
    const part = new AuditVerifier(parts, { isFromStart: false });
    t.same(
      [...items.flatMap(item => part.add(item)), ...part.end()],
      [],
      'nor is anything said of an export of some days',
    );
    t.same(await append(store, cut(0, 3)), { outcome: 'repeated', last: 9 });
    t.same(await append(store, cut(10, 11)), { outcome: 'stored', last: 10 });
    while ((await store.audit.prune({ ...all, since: signedAt + 100 }, signedAt + 30, signer)) > 0);
    t.same(await numbers(store), []);
    t.same(await append(store, cut(11, 12)), { outcome: 'stored', last: 11 }, 'a node that was quiet for long');
    t.match(verify(await exportAudit(store.audit)), { findings: [], checked: [{ from: '0.11', to: '0.11' }] });
    t.equal(runOf(11), 0);
  });
}

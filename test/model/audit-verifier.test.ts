import { createHash } from 'node:crypto';
import fc from 'fast-check';
import t from 'tap';
import { digestsOf, readAnchor, type Signed, signedBytes, signStatement } from '../../src/model/audit-anchor.ts';
import { chainHead, chainStart, numbersPerRun, printAuditNumber } from '../../src/model/audit-chain.ts';
import type { AuditItem } from '../../src/model/audit-item.ts';
import { AuditVerifier, type Noted } from '../../src/model/audit-verifier.ts';

type Item = Exclude<AuditItem, { kind: 'signer' }>;

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
/** Stands in for a signature: who has not the secret cannot make it. */
const sign = (bytes: Uint8Array) => createHash('sha256').update('secret').update(bytes).digest();
const signer = { keyId: sha256('key'), certificate: 'PEM', sign };
const parts = {
  sha256,
  isSigned: (keyId: string, bytes: Uint8Array, signature: Uint8Array) =>
    keyId === signer.keyId && sign(bytes).equals(signature),
};

interface BatchPlan {
  readonly size: number;
  /** The agent started again before it. */
  readonly isNewRun: boolean;
  /** So many records before it are missing. */
  readonly lost: number;
}

const batchPlan: fc.Arbitrary<BatchPlan> = fc.record({
  size: fc.integer({ min: 1, max: 4 }),
  isNewRun: fc.boolean(),
  lost: fc.constantFrom(0, 0, 2),
});
const audits = fc
  .record({
    plans: fc.array(fc.array(batchPlan, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 2 }),
    pruned: fc.nat(2),
  })
  .map(({ plans, pruned }) => plans.flatMap((plan, i) => stored(`pi-${i}`, plan, Math.min(pruned, plan.length - 1))));

/** What a master has of a node, of which it has pruned the oldest batches. */
function stored(node: string, plan: readonly BatchPlan[], pruned: number): Item[] {
  const items: Item[] = [];
  let [number, head, before] = [numbersPerRun, chainStart, chainStart];
  for (const [i, { size, isNewRun, lost }] of plan.entries()) {
    if (isNewRun) [number, head] = [(Math.floor(number / numbersPerRun) + 1) * numbersPerRun, chainStart];
    const gap =
      lost === 0 ? null : `records ${printAuditNumber(number)} to ${printAuditNumber(number + lost - 1)} are missing`;
    if (gap !== null) [number, head] = [number + lost, sha256(`${node} ${i}`)];
    const records = Array.from({ length: size }, (_, j) => ({
      at: 1_000 + 10 * i + j,
      path: `/${i}/${j}`,
      status: 200,
    }));
    const lines = records.map(record => JSON.stringify(record));
    const after = chainHead(head, lines, sha256);
    const digests = digestsOf(lines, sha256);
    const place = { node, seq: i + 1, before, at: 5_000 + i, chain: 1, first: number, last: number + size - 1 };
    const signed = signStatement({ v: 1, ...place, previous: head, head: after, digests, gap }, signer);
    before = sha256(signed.statement);
    if (i >= pruned) {
      if (gap !== null)
        items.push({ kind: 'gap', node, chain: 1, number: number - 1, at: 1_000 + 10 * i, reason: gap });
      for (const [j, record] of records.entries())
        items.push({ kind: 'record', node, chain: 1, number: number + j, record });
      items.push({ kind: 'anchor', node, ...signed });
    } else if (i === pruned - 1) {
      items.push({ kind: 'pruned', node, ...signStatement({ v: 1, node, pruned, before, at: 9_000 }, signer) });
    }
    [number, head] = [number + size, after];
  }
  return items;
}

function verify(items: readonly Item[], noted: readonly Noted[] = []) {
  const verifier = new AuditVerifier(parts, { isFromStart: true, noted });
  const findings = [...items.flatMap(item => verifier.add(item)), ...verifier.end()];
  return { findings: findings.map(({ node, what }) => `${node}: ${what}`), checked: verifier.checked() };
}

/** By what a finding may call it: an anchor also by the records that it is about. */
function namesOf(item: Item): readonly string[] {
  if (item.kind === 'pruned') return ['what was pruned', 'anchor 1 is missing', 'anchors 1 to'];
  if (item.kind !== 'anchor') return [printAuditNumber(item.number), printAuditNumber(item.number + 1)];
  const { seq, first, last } = readAnchor(item.statement);
  return [`anchor ${seq} `, `anchors ${seq} `, ...[first - 1, first, last].map(printAuditNumber)];
}

function isNamed(findings: readonly string[], item: Item): boolean {
  const words = namesOf(item);
  return findings.some(what => what.startsWith(`${item.node}: `) && words.some(word => `${what} `.includes(word)));
}

/** An audit, and one of its items. */
const picked = audits.chain(items => fc.record({ items: fc.constant(items), at: fc.nat(items.length - 1) }));

function check<T>(arbitrary: fc.Arbitrary<T>, holds: (value: T) => boolean): void {
  fc.assert(fc.property(arbitrary, holds), { seed: 71, numRuns: 500 });
}

t.test('an audit as it was stored verifies, and an earlier check of it holds', async () => {
  check(audits, items => verify(items, verify(items).checked).findings.length === 0);
});

t.test('an item that is taken out is found and named', async () => {
  check(picked, ({ items, at }) => {
    const { checked } = verify(items);
    const [gone] = items.slice(at, at + 1);
    return gone !== undefined && isNamed(verify(items.toSpliced(at, 1), checked).findings, gone);
  });
});

t.test(
  'an audit that is cut off anywhere is found and named, by an earlier check where it ends with an anchor',
  async () => {
    check(picked, ({ items, at }) => {
      const [cut, earlier] = [verify(items.slice(0, at)), verify(items.slice(0, at), verify(items).checked)];
      const before = items[at - 1];
      const isInside = before !== undefined && (before.kind === 'record' || before.kind === 'gap');
      return earlier.findings.length > 0 && (!isInside || isNamed(cut.findings, before));
    });
  },
);

t.test('two items of a node that changed places are found, and one of them named', async () => {
  const pair = picked.chain(({ items, at }) =>
    fc.record({ items: fc.constant(items), at: fc.constant(at), to: fc.nat(items.length - 1) }),
  );
  check(pair, ({ items, at, to }) => {
    const [one, two] = [items[at], items[to]];
    if (one === undefined || two === undefined || at === to || one.node !== two.node) return true;
    const { findings } = verify(items.with(at, two).with(to, one));
    return isNamed(findings, one) || isNamed(findings, two);
  });
});

t.test('an entry or anchor that is there twice is found and named', async () => {
  const doubled = picked.chain(({ items, at }) =>
    fc.record({ items: fc.constant(items), at: fc.constant(at), to: fc.nat(items.length) }),
  );
  check(doubled, ({ items, at, to }) => {
    const item = items[at];
    // a note of what was pruned says nothing more by being there twice
    return (
      item?.kind === 'pruned' || (item !== undefined && isNamed(verify(items.toSpliced(to, 0, item)).findings, item))
    );
  });
});

t.test('whatever is changed in an item is found and named', async () => {
  const changed = picked.chain(({ items, at }) =>
    fc.record({ items: fc.constant(items), at: fc.constant(at), field: fc.nat(20), place: fc.nat(2_000) }),
  );
  check(changed, ({ items, at, field, place }) => {
    const item = items[at];
    if (item === undefined) return false;
    const bad = flip(item, field, place);
    const { findings } = verify(items.with(at, bad));
    return isNamed(findings, item) || isNamed(findings, { ...item, node: bad.node });
  });
});

t.test('what is pruned while it is read is no finding, but for records whose anchor is gone', async t => {
  const plan = Array.from({ length: 5 }, () => ({ size: 3, isNewRun: false, lost: 0 }));
  const [before, after] = [stored('pi-0', plan, 0), stored('pi-0', plan, 3)];
  const read = before.slice(0, 4);
  t.match(verify([...read, ...after]), {
    findings: [],
    checked: [{ from: '1.0', to: '1.14', anchors: 3, prunedAt: 9_000 }],
  });
  t.match(
    verify([...read, ...after.slice(1)]).findings,
    ['pi-0: anchors 2 to 3 are missing, with the records after 1.2 and before 1.9'],
    'the master must have said so',
  );
  t.match(verify([...read, ...before.slice(4, 7), ...after]).findings, [
    'pi-0: records 1.3 to 1.5 have no anchor: they were added, or their anchor was removed',
  ]);
});

t.test('a signed statement of another node proves nothing', async t => {
  const [one, two] = [
    stored('pi-0', [{ size: 2, isNewRun: false, lost: 0 }], 0),
    stored('pi-1', [{ size: 2, isNewRun: false, lost: 0 }], 0),
  ];
  const signedOf = (items: readonly Item[]) => items.find((item): item is Item & Signed => item.kind === 'anchor');
  const other = signedOf(two);
  const swapped = one.map(item => (item.kind === 'anchor' && other !== undefined ? { ...other, node: 'pi-0' } : item));
  t.match(verify(swapped).findings, ['pi-0: anchor 1 (records 1.0 to 1.1) is of the node pi-1']);
  t.ok(other && sign(signedBytes(other.statement)).toString('base64url') === other.signature);
});

/** The item with one character or one number of it changed. */
function flip(item: Item, field: number, place: number): Item {
  const target: Record<string, unknown> = item.kind === 'record' && field % 2 === 0 ? { ...item.record } : { ...item };
  const names = Object.keys(target).filter(name => name !== 'kind' && name !== 'record');
  const name = names[field % names.length] ?? '';
  const value = target[name];
  if (typeof value === 'number') target[name] = value + 1;
  if (typeof value === 'string') {
    const at = place % value.length;
    target[name] = `${value.slice(0, at)}${value[at] === '7' ? '8' : '7'}${value.slice(at + 1)}`;
  }
  return item.kind === 'record' && field % 2 === 0 ? { ...item, record: target } : ({ ...item, ...target } as Item);
}

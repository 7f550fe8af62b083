import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { AuditItem } from '../../src/model/audit-item.ts';
import { openStore } from '../../src/store/store.ts';
import { accessRecord, chainOf, exportAudit } from '../contracts/audit-contract.ts';
import { auditEntry } from '../fixtures/api-views.ts';
import { makeAuditSigner, signedAt } from '../fixtures/audit-signer.ts';
import { makeUser } from '../fixtures/cli-user.ts';

const { signer, roots } = makeAuditSigner();

/** What a master has of two nodes. */
async function audited(t: Test, dir: string): Promise<AuditItem[]> {
  const store = await openStore({ path: join(dir, 'store.db') });
  t.teardown(() => store.close());
  const cut = chainOf(
    Array.from({ length: 9 }, (_, i) => accessRecord(1_000 + i, { path: `/${i}` })),
    3,
  );
  for (let i = 0; i < 9; i += 3) await store.audit.append('pi-1', cut(i, i + 3), signedAt, signer);
  await store.audit.append('pi-2', cut(0, 2), signedAt, signer);
  return exportAudit(store.audit);
}

async function stage(t: Test) {
  const user = await makeUser(t);
  const items = await audited(t, user.dir);
  const ca = join(user.dir, 'roots.pem');
  writeFileSync(ca, roots);
  return { ...user, items, ca };
}

t.test('an audit that is as it was signed verifies, from the master and from a file', async t => {
  const { server, mesolite, items, ca, dir } = await stage(t);
  server.world.items = items;
  const { code, out } = await mesolite(`audit verify --ca ${ca}`);
  t.equal(code, 0);
  t.match(
    out,
    /^NODE +RECORDS +GAPS +FROM +TO +PRUNED \(UTC\) +NEWEST ANCHOR\npi-1 +9 +0 +3\.0 +3\.8 +- +[0-9a-f]{16}\npi-2 +2 /,
  );
  const exported = await mesolite('audit export');
  t.equal(exported.out.trimEnd().split('\n').length, items.length);
  const file = join(dir, 'audit.jsonl');
  writeFileSync(file, exported.out);
  t.match(await mesolite(`audit verify -f ${file} --ca ${ca}`), { code: 0, out });
  const one = await mesolite(`audit verify -f ${file} --ca ${ca} --node pi-2 -o json`);
  t.match(JSON.parse(one.out), { count: 0, nodes: [{ node: 'pi-2', records: 2 }] });
});

t.test('what was done to an audit is named, with exit code 1', async t => {
  const { server, mesolite, items, ca } = await stage(t);
  const at = (number: number) =>
    items.findIndex(item => item.kind === 'record' && item.node === 'pi-1' && item.number % 2 ** 32 === number);
  const changed = structuredClone(items);
  const record = changed[at(4)];
  if (record?.kind === 'record') record.record.path = '/other';
  const swapped = structuredClone(items);
  [swapped[at(3)], swapped[at(4)]] = [items[at(4)] as AuditItem, items[at(3)] as AuditItem];
  const cases: readonly (readonly [readonly AuditItem[], RegExp])[] = [
    [changed, /^pi-1: record 3\.4 was changed$/m],
    [items.filter((_, i) => i !== at(7)), /^pi-1: record 3\.7 was removed$/m],
    [swapped, /^pi-1: record 3\.3 was reordered$/m],
    [[...items, items[at(0)] as AuditItem], /^pi-1: record 3\.0 has no anchor: it was added/m],
    [
      items.filter((_, i) => i < at(3) || i > at(5) + 1),
      /anchor 2 is missing, with the records after 3\.2 and before 3\.6/,
    ],
    [items.slice(0, 1).concat(items.slice(at(3))), /anchor 1 is missing, with the records before 3\.3/],
    [items.filter(({ kind }) => kind !== 'signer'), /^pi-1: anchor 1 \(records 3\.0 to 3\.2\) is forged/m],
  ];
  for (const [world, expected] of cases) {
    server.world.items = [...world];
    const { code, out, err } = await mesolite(`audit verify --ca ${ca}`);
    t.equal(code, 1);
    t.match(out, expected);
    t.match(err, /the audit was tampered with: \d+ finding/);
  }
});

t.test('what was cut off at the newest end is found by an earlier check', async t => {
  const { server, mesolite, items, ca, dir } = await stage(t);
  server.world.items = items;
  const earlier = join(dir, 'earlier.json');
  writeFileSync(earlier, (await mesolite(`audit verify --ca ${ca} -o json`)).out);
  const check = () => mesolite(`audit verify --ca ${ca} --earlier ${earlier}`);
  t.match(await check(), { code: 0 });
  const isLast = (item: AuditItem) => item.kind === 'record' && item.node === 'pi-1' && item.number % 2 ** 32 === 6;
  server.world.items = items.slice(0, items.findIndex(isLast));
  const { code, out } = await check();
  t.equal(code, 1);
  t.match(out, /^pi-1: anchor 3 was there in an earlier check and is missing, with the records after 3\.5$/m);
  t.match(out, /^pi-2: anchor 1 was there in an earlier check and is missing, with the records$/m);
  t.match(await mesolite(`audit verify --ca ${ca}`), { code: 0 });
  writeFileSync(earlier, '{}');
  t.match(await check(), { code: 1, err: /earlier\.json: nodes: / });
});

t.test('anchors by a key that no trusted root has certified are forged', async t => {
  const { server, mesolite, items } = await stage(t);
  server.world.items = items;
  t.match(await mesolite('audit verify'), { code: 1, out: /anchor 1 .* is forged: it is not signed by the master/ });
});

t.test('a file that is no export is refused, with its line', async t => {
  const { mesolite, ca, dir, items } = await stage(t);
  const file = join(dir, 'bad.jsonl');
  writeFileSync(file, `${JSON.stringify(items[0])}\n{"kind":"nonsense"}\n`);
  t.match(await mesolite(`audit verify -f ${file} --ca ${ca}`), { code: 1, err: /bad\.jsonl:2: kind: / });
  writeFileSync(file, JSON.stringify(items[0]));
  t.match(await mesolite(`audit verify -f ${file} --ca ${ca}`), { code: 1, err: /bad\.jsonl:1: the file is cut off/ });
  t.match(await mesolite(`audit verify -f ${dir}/none --ca ${ca}`), {
    code: 1,
    err: /^mesolite: .*none: no such file\n$/,
  });
});

t.test('an export as a table has every record, and nothing that a spreadsheet would run', async t => {
  const { server, mesolite } = await makeUser(t);
  const many = Array.from({ length: 2_500 }, (_, i) => auditEntry(i));
  const gap = { kind: 'gap', node: 'pi-2', number: 41, at: 0, reason: 'records 0.7 to 0.41 are missing' };
  server.world.entries = [auditEntry(1, { host: '=cmd|"x"!A1', path: '/a,"b"\n', method: '-' }), gap, ...many];
  const { out, code } = await mesolite('audit export -o csv --verdict deny');
  t.equal(code, 0);
  const lines = out.trimEnd().split('\n');
  t.match(lines[0], /^time,node,number,verdict,rule,status,source,source ip,/);
  t.equal(
    lines[1],
    '2030-01-01T11:59:59.000Z,pi-1,0.1,deny,default/deny-client#0,403,test/ns/default/sa/client,10.0.0.8,test/ns/default/sa/hello,-,"\'=cmd|""x""!A1","/a,""b""',
  );
  t.match(lines[3], /^1970-01-01T00:00:00\.000Z,pi-2,0\.41,gap,records 0\.7 to 0\.41 are missing,,,/);
  t.equal(lines.length, 1 + 2 + 1 + many.length);
  t.equal(server.calls.length, 3, 'in pages');
  t.match(server.calls[1]?.what, /verdict=deny.*after=1000/);
  t.match((await mesolite('audit -o csv --limit 1')).out, /^time,[^\n]*\n[^\n]*\n[^\n]*\n$/);
  t.match(await mesolite('audit export --verdict deny'), { code: 2, err: /a chain cannot be proved in part/ });
});

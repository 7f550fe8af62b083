import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CertificateRecord } from '../../src/store/certificates.ts';
import { openStore } from '../../src/store/store.ts';

type NewRecord = Omit<CertificateRecord, 'revokedAt'>;

const record = (serial: string, odd: Partial<NewRecord> = {}): NewRecord => ({
  serial,
  kind: 'node',
  spiffeId: 'spiffe://test/node/a',
  node: 'a',
  issuer: 'CA1',
  notBefore: 0,
  notAfter: 1000,
  issuedAt: 10,
  ...odd,
});

async function makeCertificates(t: Test, path = join(t.testdir(), 'db')) {
  const store = await openStore({ path });
  t.teardown(() => store.close());
  const serials = async (filter = {}) =>
    (await store.certificates.list({ limit: 100, ...filter })).map(({ serial }) => serial);
  return { store, certificates: store.certificates, serials, path };
}

t.test('a certificate is entered once, and what is known of it stays', async t => {
  const { certificates, serials } = await makeCertificates(t);
  await certificates.add(record('01'));
  await certificates.revoke({ serial: '01' }, 20);
  await certificates.add(record('01', { node: 'b' }));
  t.same(await certificates.get('01'), { ...record('01'), revokedAt: 20 });
  t.same(await serials(), ['01']);
  t.equal(await certificates.get('02'), undefined);
});

t.test('the list is newest first, and filtered', async t => {
  const { certificates, serials } = await makeCertificates(t);
  await certificates.add(record('01'));
  await certificates.add(record('02', { issuedAt: 30, kind: 'workload' }));
  await certificates.add(record('03', { issuedAt: 20, node: 'b', notAfter: 5000 }));
  t.same(await serials(), ['02', '03', '01']);
  t.same(await serials({ limit: 2 }), ['02', '03']);
  t.same(await serials({ node: 'a' }), ['02', '01']);
  t.same(await serials({ kind: 'workload' }), ['02']);
  t.same(await serials({ endAfter: 1000 }), ['03']);
});

t.test('what is revoked stays so over a start, and is said once', async t => {
  const { store, certificates, path } = await makeCertificates(t);
  for (const each of [record('01'), record('02', { kind: 'workload' }), record('03', { node: 'b' })]) {
    await certificates.add(each);
  }
  t.same((await certificates.revoke({ node: 'a' }, 50)).map(each => [each.serial, each.revokedAt]).sort(), [
    ['01', 50],
    ['02', 50],
  ]);
  t.same(await certificates.revoke({ node: 'a' }, 60), []);
  t.same(await certificates.revoke({ serial: 'none' }, 60), []);
  await store.close();
  const again = await makeCertificates(t, path);
  t.same((await again.certificates.revoked()).sort(), ['01', '02']);
  t.equal((await again.certificates.get('01'))?.revokedAt, 50);
});

t.test('holdings are what nodes have by these issuers and have not replaced by what another has issued', async t => {
  const { certificates } = await makeCertificates(t);
  await certificates.add(record('01'));
  await certificates.add(record('02', { spiffeId: 'x' }));
  await certificates.add(record('03', { node: 'b', notAfter: 500 }));
  await certificates.add(record('04', { node: 'c', issuer: 'CA2' }));
  await certificates.add(record('05', { node: null }));
  await certificates.add(record('06', { node: 'd' }));
  await certificates.revoke({ serial: '06' }, 1);
  const holdings = async (issuers: string[], now: number) =>
    (await certificates.holdings(issuers, now)).map(({ node, spiffeId }) => `${node} ${spiffeId}`);
  const own = 'spiffe://test/node/a';
  t.same(await holdings(['CA1'], 600), [`a ${own}`, 'a x']);
  t.same(await holdings(['CA1', 'CA2'], 400), [`a ${own}`, 'a x', `b ${own}`, `c ${own}`]);
  t.same(await holdings([], 400), []);
  await certificates.add(record('07', { issuedAt: 20 }));
  t.same(await holdings(['CA1'], 600), [`a ${own}`, 'a x'], 'another by the same issuer is no other');
  await certificates.add(record('08', { issuedAt: 30, issuer: 'CA2' }));
  t.same(await holdings(['CA1'], 600), ['a x']);
  await certificates.revoke({ serial: '08' }, 40);
  t.same(await holdings(['CA1'], 600), [`a ${own}`, 'a x']);
});

t.test('outcasts are the nodes of whose own certificates every one is revoked', async t => {
  const { certificates } = await makeCertificates(t);
  await certificates.add(record('01'));
  await certificates.add(record('02'));
  await certificates.add(record('03', { kind: 'workload' }));
  await certificates.add(record('04', { node: null, kind: 'root' }));
  await certificates.add(record('05', { node: 'b' }));
  t.same(await certificates.outcasts(), []);
  await certificates.revoke({ serial: '01' }, 1);
  t.same(await certificates.outcasts(), [], 'it has another one');
  await certificates.revoke({ serial: '02' }, 1);
  t.same(await certificates.outcasts(), ['a'], 'what its tasks have does not make it a node');
  await certificates.add(record('06'));
  t.same(await certificates.outcasts(), [], 'it has joined anew');
});

t.test('what ended long ago is forgotten, of workloads sooner, unless it was revoked', async t => {
  const { certificates, serials } = await makeCertificates(t);
  await certificates.add(record('01', { notAfter: 100 }));
  await certificates.add(record('02', { notAfter: 200 }));
  await certificates.add(record('03', { notAfter: 200, kind: 'workload' }));
  await certificates.add(record('04', { notAfter: 200, kind: 'workload' }));
  await certificates.revoke({ serial: '04' }, 1);
  await certificates.trim({ ended: 150, workloads: 300 });
  t.same((await serials()).sort(), ['02', '04']);
  t.same(await certificates.revoked(), ['04']);
  await certificates.trim({ ended: 300, workloads: 300 });
  t.same(await certificates.revoked(), []);
});

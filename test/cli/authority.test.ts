import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { dayMs } from '../../src/base/clock.ts';
import type { AuthorityView, CertificateView } from '../../src/model/certificate.ts';
import { startApiServer } from '../fixtures/api-server.ts';
import { cliNow, run } from '../fixtures/cli-run.ts';

const now = cliNow;

async function makeUser(t: Test) {
  const dir = t.testdir();
  const server = await startApiServer(t, dir);
  const env = { MESOLITE_CONFIG: join(dir, 'config.yaml') };
  const mesolite = (line: string) => run(line.split(' '), { env });
  await mesolite(`context set here --server ${server.url} --ca ${server.caFile} --token-file ${server.tokenFile}`);
  return { dir, server, mesolite };
}

function certificateView(odd: Partial<CertificateView> = {}): CertificateView {
  return {
    serial: 'AB12',
    kind: 'node',
    state: 'valid',
    spiffeId: 'spiffe://test/node/pi-1',
    node: 'pi-1',
    issuer: 'CD34',
    notBefore: now - dayMs,
    notAfter: now + 29.5 * dayMs,
    issuedAt: now - dayMs,
    revokedAt: null,
    ...odd,
  };
}

t.test('certificates are listed with their end and their state', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.certificates = [
    certificateView(),
    certificateView({ serial: 'EF', kind: 'master', node: null, state: 'expired', notAfter: now - 1 }),
  ];
  const { code, out } = await mesolite('get certificates --node pi-1 --all');
  t.equal(code, 0);
  const [head = '', first = '', second = ''] = out.split('\n');
  t.match(head, /^IDENTITY +KIND +NODE +STATE +EXPIRES +AGE +SERIAL$/);
  t.match(first, /^spiffe:\/\/test\/node\/pi-1 +node +pi-1 +valid +in 29d +24h +AB12$/);
  t.match(second, / master +- +expired +over /);
  t.equal(server.calls.at(-1)?.what, 'GET /v1/certificates?node=pi-1&all=true');
  t.match((await mesolite('get certificates -o wide')).out, /NOT AFTER \(UTC\)/);
  t.equal(server.calls.at(-1)?.what, 'GET /v1/certificates');
});

t.test('a certificate is revoked by its serial number as openssl prints it, a node by its name', async t => {
  const { server, mesolite } = await makeUser(t);
  server.world.certificates = [certificateView({ state: 'revoked' })];
  t.match(await mesolite('revoke ab:12'), { code: 0, out: 'revoked AB12 of spiffe://test/node/pi-1\n' });
  t.equal(server.calls.at(-1)?.what, 'POST /v1/certificates/AB12/revoke');
  t.equal((await mesolite('revoke --node pi-1')).code, 0);
  t.equal(server.calls.at(-1)?.what, 'POST /v1/nodes/pi-1/revoke');
  server.world.certificates = [];
  t.match(await mesolite('revoke AB12'), { code: 0, out: /revoked already/ });
  t.match(await mesolite('revoke'), { code: 1, err: /expected a serial number/ });
  t.match(await mesolite('revoke AB12 --node pi-1'), { code: 1, err: /expected a serial number/ });
});

t.test('the authority is shown, rotated and retired', async t => {
  const { dir, server, mesolite } = await makeUser(t);
  const brief = { serial: '01', notAfter: now + 300.5 * dayMs };
  const generation = { signing: true, root: { ...brief, sha256: 'f'.repeat(64) }, issuing: brief, config: brief };
  server.world.authority = {
    trustDomain: 'test',
    generations: [
      { ...generation, state: 'issuing' },
      { ...generation, state: 'announced', signing: false },
    ],
    waitingFor: ['pi-1', 'pi-2'],
    renewing: [],
  } satisfies AuthorityView;
  const shown = await mesolite('authority show');
  t.match(shown.out, /issuing +yes +f{16} +in 300d +in 300d +in 300d\nannounced +no /);
  t.match(shown.err, /the new root waits for: pi-1, pi-2/);
  const renewing = (nodes: string[], state: 'issuing' | 'announced', waitingFor: string[] = []) => ({
    trustDomain: 'test',
    generations: [
      { ...generation, state: 'old' },
      { ...generation, root: { ...brief, sha256: 'e'.repeat(64) }, state, signing: false },
    ],
    waitingFor,
    renewing: nodes,
  });
  const views = [renewing([], 'announced', ['pi-1']), renewing(['pi-1', 'pi-2'], 'issuing')];
  views.push(renewing(['pi-2'], 'issuing'), renewing(['pi-2'], 'issuing'), renewing([], 'issuing'));
  Object.defineProperty(server.world, 'authority', { get: () => (views.length > 1 ? views.shift() : views[0]) });
  const waited = await mesolite('authority rotate root --wait');
  t.equal(waited.code, 0);
  t.strictSame(waited.err.split('\n').slice(0, 4), [
    'the new root waits for: pi-1',
    'have been asked to renew, and have not yet: pi-1, pi-2',
    'have been asked to renew, and have not yet: pi-2',
    'every node has certificates by the new root: mesolite authority retire ends the trust in the old one',
  ]);
  t.equal(views.length, 1, 'it looked until it was over');
  await mesolite('authority rotate issuing');
  t.match(server.calls.at(-1), { what: 'POST /v1/authority/rotate', body: { what: 'issuing' } });
  await mesolite('authority rotate root --force');
  t.same(server.calls.at(-1)?.body, { what: 'root', force: true });
  for (const name of ['cert', 'key']) writeFileSync(join(dir, name), name);
  await mesolite(`authority rotate root --root-cert ${join(dir, 'cert')} --root-key ${join(dir, 'key')}`);
  t.same(server.calls.at(-1)?.body, { what: 'root', force: false, root: { rootPem: 'cert', rootKeyPem: 'key' } });
  await mesolite('authority retire');
  t.match(server.calls.at(-1), { what: 'POST /v1/authority/retire', body: { force: false } });
});

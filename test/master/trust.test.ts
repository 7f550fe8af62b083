import t from 'tap';
import { dayMs, hourMs, minuteMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import { readCertificates } from '../../src/identity/certificate.ts';
import { generateKeyPair } from '../../src/identity/keys.ts';
import type { Lifetimes } from '../../src/identity/lifetimes.ts';
import { createRequest } from '../../src/identity/request.ts';
import { createRoot } from '../../src/identity/root.ts';
import { readTrustBundle, verifyChain } from '../../src/identity/verify.ts';
import { openAuthorityFile } from '../../src/master/authority-file.ts';
import { openTrust } from '../../src/master/trust.ts';
import type { Manifest } from '../../src/model/manifest.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';

const trustDomain = 'test.mesolite';
const nodeUri = `spiffe://${trustDomain}/node/a`;

interface Options {
  readonly lifetimes?: Partial<Lifetimes>;
  readonly clock?: FakeClock;
}

/** A trust on real files; `world` is the test's to change. */
async function makeTrust(directory: string, { lifetimes = {}, clock = new FakeClock() }: Options = {}) {
  const files = await openFiles(directory);
  const file = await openAuthorityFile(files, { trustDomain, lifetimes }, clock.now());
  const world = { nodes: [] as string[], holders: [] as string[], revoked: new Set<string>() };
  const asked: string[] = [];
  const events: { kind: string; message: string }[] = [];
  const recorded = new Set<string>();
  let revision = 0;
  const publish = async (): Promise<number> => {
    const { roots, signers, issuers } = trust.authority;
    const lists = { roots: [...roots], signers: [...signers], issuers: [...issuers] };
    const manifest: Manifest = { epoch: 1, time: clock.now(), policy: 0, services: {}, revoked: [], ...lists };
    trust.onPublished(++revision, manifest);
    return revision;
  };
  const trust = await openTrust({
    file,
    clock,
    random: () => 0,
    log: silentLog,
    revoked: () => world.revoked,
    nodes: () => world.nodes,
    holders: async issuers => (issuers.size === 0 ? [] : world.holders),
    askToRenew: async (node, withinMs) => void asked.push(`${node} within ${withinMs}`),
    record: async chain => void recorded.add(readCertificates(chain, 'chain')[0]?.serialNumber ?? ''),
    onChanged: async () => void (await publish()),
    events: { record: (kind, { message }) => void events.push({ kind, message }) },
  });
  const ack = (node: string, at: number, reason?: string) =>
    trust.onAck(node, {
      v: 1,
      boot: 1,
      seq: 0,
      ts: 0,
      kind: 'manifest',
      subject: 'all',
      revision: at,
      ...(reason && { reason }),
    });
  const states = async () =>
    (await trust.view()).generations.map(({ state, signing }) => state + (signing ? '+signs' : ''));
  const issue = () => trust.authority.issueNode(createRequest(nodeUri, generateKeyPair()), 'a', clock.now());
  const pass = async (ms: number) => {
    clock.setNow(clock.now() + ms);
    await trust.tend();
  };
  return {
    trust,
    clock,
    files,
    world,
    asked,
    events,
    recorded,
    publish,
    ack,
    states,
    issue,
    pass,
    latest: () => revision,
  };
}

t.test(
  'issuing authority and signer are renewed at two thirds, announced, then used, and the old ones end',
  async t => {
    const { trust, states, issue, pass, recorded, events } = await makeTrust(t.testdir());
    const before = issue();
    t.equal(recorded.size, 3, 'root, issuing authority and signer are in the book');
    await pass(243 * dayMs);
    t.same(await states(), ['issuing+signs'], 'not yet');
    await pass(dayMs);
    t.same(await states(), ['issuing+signs', 'announced']);
    t.equal(trust.authority.signers.length, 2, 'the next signer is in the manifest before it signs');
    t.equal(recorded.size, 5);
    t.equal(events.at(-1)?.kind, 'authority-rotated');
    await pass(hourMs);
    t.same(await states(), ['old+signs', 'issuing'], 'who was away knows the old signer');
    t.not(
      readCertificates(issue().chainPem, 'chain')[1]?.serialNumber,
      readCertificates(before.chainPem, 'chain')[1]?.serialNumber,
    );
    await pass(95 * dayMs);
    t.same(await states(), ['old', 'issuing+signs'], 'before it ends it hands over');
    await pass(27 * dayMs);
    t.same(await states(), ['issuing+signs'], 'what is over is forgotten');
    t.equal(trust.authority.roots.length, 1, 'by the same root');
  },
);

t.test('what was issued before a renewal holds to its end', async t => {
  const { trust, issue, pass, clock } = await makeTrust(t.testdir());
  await pass(243 * dayMs);
  const late = issue();
  await pass(dayMs);
  await pass(hourMs);
  clock.setNow(clock.now() + 28 * dayMs);
  const bundle = readTrustBundle(trustDomain, trust.authority.roots);
  const chain = readCertificates(late.chainPem, 'chain');
  t.ok(verifyChain(chain, bundle, 'client', { now: clock.now() }).ok, 'it had all of its life');
  t.equal(late.notAfter - Date.parse(chain[0]?.validFrom ?? ''), 30 * dayMs + 5 * minuteMs);
});

t.test('after a long sleep a new generation is used at once', async t => {
  const { states, issue, pass, clock } = await makeTrust(t.testdir());
  await pass(400 * dayMs);
  t.same(await states(), ['issuing+signs']);
  t.ok(issue().notAfter > clock.now() + 29 * dayMs);
});

t.test('a master that starts again goes on where it was', async t => {
  const dir = t.testdir();
  const { pass, clock, states } = await makeTrust(dir);
  await pass(244 * dayMs);
  t.same(await states(), ['issuing+signs', 'announced']);
  const again = await makeTrust(dir, { clock });
  t.same(await again.states(), ['issuing+signs', 'announced']);
  await again.pass(hourMs);
  t.same(await again.states(), ['old+signs', 'issuing']);
});

t.test('nodes are asked to renew when another authority issues, and not while it is only announced', async t => {
  const { trust, world, asked, pass, ack, latest } = await makeTrust(t.testdir());
  world.nodes = ['a', 'b'];
  world.holders = ['a', 'away'];
  await pass(minuteMs);
  t.same(asked, [], 'there is no older one');
  await trust.rotateRoot({ force: false });
  await pass(minuteMs);
  t.same(asked, []);
  t.same((await trust.view()).renewing, []);
  await ack('a', latest());
  await ack('b', latest());
  t.same(asked, ['a within 2000']);
  t.same((await trust.view()).renewing, ['a', 'away']);
  world.nodes = ['a', 'b', 'away'];
  await pass(minuteMs);
  t.same(asked.at(-1), 'away within 2000');
});

t.test('a new root that does not wait has nodes renew at once', async t => {
  const { trust, world, asked } = await makeTrust(t.testdir());
  world.nodes = world.holders = ['a'];
  await trust.rotateRoot({ force: true });
  t.same(asked, ['a within 2000']);
});

t.test('a new root issues when every node that is ready has acknowledged it, and not before', async t => {
  const { trust, world, states, ack, latest, issue, events } = await makeTrust(t.testdir());
  world.nodes = ['a', 'b'];
  const pin = trust.authority.rootSha256;
  await trust.rotateRoot({ force: false });
  t.same(await states(), ['issuing+signs', 'announced']);
  t.equal(trust.authority.roots.length, 2);
  t.same((await trust.view()).waitingFor, ['a', 'b']);
  await ack('a', latest());
  await ack('b', latest() - 1);
  await ack('b', latest(), 'no room on the disk');
  await trust.tend();
  t.same((await trust.view()).waitingFor, ['b'], 'an older manifest, or a refusal, is no acknowledgement');
  t.equal(trust.authority.rootSha256, pin);
  await ack('b', latest());
  t.same(await states(), ['old+signs', 'issuing'], 'the last one sets it going');
  t.not(trust.authority.rootSha256, pin);
  const [, , bridge] = readCertificates(issue().chainPem, 'chain');
  t.ok(bridge, 'a node that was away finds a way from the root that it knows');
  t.match(
    events.map(each => each.message),
    [/announced/, /issues now/],
  );
});

t.test(
  'a new root waits without nodes for the manifest alone, and after a new start for a manifest of that',
  async t => {
    const dir = t.testdir();
    const { trust, world, clock } = await makeTrust(dir);
    world.nodes = ['a'];
    await trust.rotateRoot({ force: false });
    const again = await makeTrust(dir, { clock });
    again.world.nodes = ['a'];
    await again.trust.tend();
    t.same(await again.states(), ['issuing+signs', 'announced']);
    await again.ack('a', 5);
    t.same(await again.states(), ['issuing+signs', 'announced'], 'of another life of the master');
    again.world.nodes = [];
    await again.trust.tend();
    t.same(await again.states(), ['issuing+signs', 'announced'], 'nobody has been told yet');
    await again.publish();
    await again.trust.tend();
    t.same(await again.states(), ['old+signs', 'issuing']);
  },
);

t.test('force does not wait, neither for a root that is announced nor for a new one', async t => {
  const { trust, world, states } = await makeTrust(t.testdir());
  world.nodes = ['away'];
  await trust.rotateRoot({ force: false });
  await t.rejects(trust.rotateRoot({ force: false }), { code: 'CONFLICT', message: /waits for away/ });
  await t.rejects(trust.rotateIssuing(), { code: 'CONFLICT', message: /a new root is on its way/ });
  await trust.rotateRoot({ force: true });
  t.same(await states(), ['old+signs', 'issuing']);
  await t.rejects(trust.rotateRoot({ force: true }), { code: 'CONFLICT', message: /retire it first/ });
  const other = await makeTrust(t.testdir({}));
  other.world.nodes = ['away'];
  await other.trust.rotateRoot({ force: true });
  t.same(await other.states(), ['old+signs', 'issuing']);
});

t.test('an old root is retired when nobody needs it, or by force', async t => {
  const { trust, world, states, issue } = await makeTrust(t.testdir());
  await t.rejects(trust.retire({ force: false }), { code: 'CONFLICT', message: /no old root/ });
  const before = issue();
  await trust.rotateRoot({ force: true });
  world.holders = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
  await t.rejects(trust.retire({ force: false }), { code: 'CONFLICT', message: /in use at a, b, c, d, e and 2 more/ });
  await trust.retire({ force: true });
  t.same(await states(), ['issuing+signs']);
  t.equal(trust.authority.roots.length, 1);
  t.equal(readCertificates(issue().chainPem, 'chain').length, 2, 'no bridge to what nobody trusts');
  const result = verifyChain(readCertificates(before.chainPem, 'chain'), trust.authority.bundle, 'client', {
    now: Date.UTC(2030, 0, 1),
  });
  t.match(result, { ok: false, reason: /does not end in a trusted root/ });
});

t.test('a root of the user takes over, one that would not do does not', async t => {
  const { trust, clock, states } = await makeTrust(t.testdir());
  const root = createRoot({ trustDomain }, clock.now());
  const foreign = createRoot({ trustDomain: 'other' }, clock.now());
  await t.rejects(trust.rotateRoot({ root: foreign, force: true }), {
    code: 'INVALID_INPUT',
    message: /not for the trust/,
  });
  t.same(await states(), ['issuing+signs'], 'and nothing has changed');
  await trust.rotateRoot({ root, force: true });
  t.equal(trust.authority.rootPem, root.rootPem);
  await t.rejects(trust.rotateRoot({ root, force: true }), { code: 'CONFLICT' });
  await trust.rotateIssuing();
  t.same(await states(), ['old+signs', 'issuing', 'announced'], 'its key was kept');
});

t.test('without the root’s key all goes on until it is needed, and that is said in time', async t => {
  const { trust, files, events, states, pass } = await makeTrust(t.testdir());
  const kept = await files.read('authority-root');
  await files.remove('authority-root');
  await t.rejects(trust.rotateIssuing(), { code: 'UNAVAILABLE', message: /put the file authority-root back/ });
  await pass(250 * dayMs);
  t.match(events.at(-1), { kind: 'certificate-expiring', message: /cannot be renewed and expires on .*put the file/ });
  t.same(await states(), ['issuing+signs'], 'what there is goes on');
  await files.write('authority-root', kept?.value ?? Buffer.alloc(0));
  await pass(minuteMs);
  t.same(await states(), ['issuing+signs', 'announced'], 'no start is needed');
});

t.test('the operator hears in time that the root ends', async t => {
  const { events, pass } = await makeTrust(t.testdir());
  await pass(2430 * dayMs);
  t.notOk(events.some(({ message }) => message.startsWith('the root expires')));
  await pass(10 * dayMs);
  t.match(events.at(-1), {
    kind: 'certificate-expiring',
    message: /the root expires on .*: mesolite authority rotate root/,
  });
});

t.test('a revoked authority or signer acts no more as soon as there is another', async t => {
  const { trust, world, states, pass } = await makeTrust(t.testdir());
  const [first] = (await trust.view()).generations;
  t.ok(trust.inUse().has(first?.issuing.serial ?? ''));
  await trust.rotateIssuing();
  await pass(hourMs);
  t.same(await states(), ['old+signs', 'issuing']);
  t.ok(trust.inUse().has(first?.config.serial ?? ''), 'its signer still acts');
  t.notOk(trust.inUse().has(first?.issuing.serial ?? ''));
  world.revoked.add(first?.issuing.serial ?? '');
  await trust.tend();
  t.same(await states(), ['old', 'issuing+signs']);
});

t.test('so many generations are in force at most', async t => {
  const { trust } = await makeTrust(t.testdir());
  for (let i = 1; i < 8; i++) await trust.rotateIssuing();
  await t.rejects(trust.rotateIssuing(), { code: 'CONFLICT', message: /8 generations are in force/ });
});

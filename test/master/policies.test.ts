import t, { type Test } from 'tap';
import { openPolicies } from '../../src/master/policies.ts';
import type { DocumentAck } from '../../src/model/message.ts';
import type { Store } from '../../src/store/store.ts';
import { openTestStore } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const settings = { trustDomain: 'edge.local', rootNamespace: 'istio-system', meshDefault: 'allow' } as const;

const policy = (name: string, action = 'DENY') => ({
  apiVersion: 'security.istio.io/v1',
  kind: 'AuthorizationPolicy',
  metadata: { name },
  spec: { action, rules: [{}] },
});

async function put(store: Store, ...documents: ReturnType<typeof policy>[]) {
  const puts = documents.map(document => ({
    kind: 'AuthorizationPolicy',
    namespace: 'default',
    name: document.metadata.name,
    json: JSON.stringify(document),
  }));
  await store.documents.apply(puts, 1);
}

const remove = (store: Store, name: string) =>
  store.documents.remove({ kind: 'AuthorizationPolicy', namespace: 'default', name });

async function stage(t: Test) {
  const store = await openTestStore(t);
  const words = new MasterWords();
  /** Each is a start of a master. */
  const open = (more = {}) =>
    openPolicies({ store, outgoing: words.outgoing, clock: words.clock, rollout: () => undefined }, () => ({
      ...settings,
      ...more,
    }));
  const published = () =>
    words.take('policy').map(({ revision, body }): Record<string, unknown> => ({ revision, ...body }));
  return { store, words, open, published };
}

const ack = (more: Partial<DocumentAck>): DocumentAck => ({
  v: 1,
  boot: 1,
  seq: 0,
  ts: 0,
  kind: 'policy',
  subject: 'all',
  revision: 0,
  ...more,
});

t.test('the policies travel as they were written, with the settings that they hold under', async t => {
  const { store, open, published } = await stage(t);
  const policies = await open();
  await put(store, policy('a'), policy('b'));
  await policies.publish();
  t.match(published(), [{ ...settings, documents: [policy('a'), policy('b')], revision: policies.revision }]);
});

t.test('the first document has a revision though there is no policy', async t => {
  const { open, published } = await stage(t);
  const policies = await open();
  await policies.publish();
  t.match(published(), [{ documents: [] }]);
  t.ok(policies.revision > 0);
});

t.test('the revision rises with each change, and only then', async t => {
  const { store, words, open, published } = await stage(t);
  const policies = await open();
  await put(store, policy('a'));
  await policies.publish();
  const first = policies.revision;
  await words.clock.advance(60_000);
  await policies.publish();
  t.equal(policies.revision, first, 'the same again renews the signature');
  t.equal(published().length, 2);
  const revisions = [first];
  const changes = [
    () => put(store, policy('b')),
    () => put(store, policy('b', 'ALLOW')),
    () => remove(store, 'a'),
    () => put(store, policy('a')),
    async () => {
      await remove(store, 'a');
      await put(store, policy('a'));
    },
  ];
  for (const change of changes) {
    await change();
    await policies.publish();
    revisions.push(policies.revision);
  }
  t.same(
    revisions,
    [...new Set(revisions)].sort((a, b) => a - b),
  );
});

t.test('a master that crashed after storing and before publishing publishes it as new', async t => {
  const { store, open, published } = await stage(t);
  const before = await open();
  await put(store, policy('a'));
  await before.publish();
  await put(store, policy('b'));

  const after = await open();
  t.equal(after.revision, before.revision);
  await after.publish();
  t.ok(after.revision > before.revision);
  const again = await open();
  await again.publish();
  t.equal(again.revision, after.revision, 'and once only');
  t.same(
    published().map(({ revision }) => revision),
    [before.revision, after.revision, after.revision],
  );
});

t.test('other settings are another document', async t => {
  const { open, published } = await stage(t);
  const before = await open();
  await before.publish();
  const after = await open({ meshDefault: 'deny' });
  await after.publish();
  t.ok(after.revision > before.revision);
  t.equal(published()[1]?.meshDefault, 'deny');
});

t.test('a publication that began before a change does not follow the one that has it', async t => {
  const { store, open, published } = await stage(t);
  const policies = await open();
  const renewal = policies.publish();
  await put(store, policy('a'));
  await Promise.all([renewal, policies.publish(), policies.publish()]);
  const all = published();
  t.match(all.at(-1)?.documents, [policy('a')]);
  const revisions = all.map(({ revision }) => Number(revision));
  t.same(
    revisions,
    [...revisions].sort((a, b) => a - b),
  );
});

t.test('a policy shows where it is in force, and who refused and why', async t => {
  const { store, words, open } = await stage(t);
  const policies = await open();
  await put(store, policy('a'));
  await policies.publish();
  const first = policies.revision;
  const view = async () =>
    (await policies.view(['pi-1', 'pi-2'])).map(({ name, enforcedOn, nodes }) => `${name} ${enforcedOn}/${nodes}`);
  t.same(await view(), ['a 0/2']);
  policies.onAck('pi-1', ack({ revision: first }));
  policies.onAck('pi-2', ack({ revision: first, kind: 'manifest' }));
  policies.onAck('gone', ack({ revision: first }));
  t.same(await view(), ['a 1/2'], 'only nodes that are asked for count, and only acknowledgements of policies');

  await words.clock.advance(1_000);
  await put(store, policy('b', 'ALLOW'));
  await policies.publish();
  t.same(await view(), ['a 1/2', 'b 0/2'], 'what is in force goes on being so');
  policies.onAck('pi-2', ack({ revision: policies.revision }));
  t.same(await view(), ['a 2/2', 'b 1/2']);
  policies.onAck('pi-1', ack({ revision: policies.revision, reason: 'it cannot be compiled' }));
  t.match(await policies.view(['pi-1', 'pi-2']), [
    { name: 'a', action: 'DENY', revision: first, refusals: [{ node: 'pi-1', reason: 'it cannot be compiled' }] },
    { name: 'b', action: 'ALLOW', revision: policies.revision, enforcedOn: 1 },
  ]);
  policies.onAck('pi-1', ack({ revision: policies.revision }));
  t.same(await view(), ['a 2/2', 'b 2/2']);
});

t.test('what could not be sent is sent with the next publication', async t => {
  const { store, words, open, published } = await stage(t);
  const policies = await open();
  await put(store, policy('a'));
  words.isUp = false;
  await t.rejects(policies.publish(), { code: 'UNAVAILABLE' });
  words.isUp = true;
  await policies.publish();
  t.match(published(), [{ documents: [policy('a')], revision: policies.revision }]);
});

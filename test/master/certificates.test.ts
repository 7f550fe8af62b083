import { X509Certificate } from 'node:crypto';
import t, { type Test } from 'tap';
import { hourMs } from '../../src/base/clock.ts';
import { MesoliteError } from '../../src/base/errors.ts';
import { generateKeyPair, keyIdOf } from '../../src/identity/keys.ts';
import { createRequest } from '../../src/identity/request.ts';
import { makeCertificates, perHour } from '../../src/master/certificates.ts';
import { makeRunsWorkload } from '../../src/master/workload-rights.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { enterNode, openTestStore, placeTask, statusOf } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const node = (id: string) => `spiffe://test.mesolite/node/${id}`;
const account = (name: string, namespace = 'default') => `spiffe://test.mesolite/ns/${namespace}/sa/${name}`;

async function stage(t: Test) {
  const store = await openTestStore(t);
  for (const id of ['pi-1', 'pi-2']) await enterNode(store, id);
  const words = new MasterWords();
  const book: string[] = [];
  const certificates = makeCertificates({
    authority: words.authority.authority,
    runs: makeRunsWorkload({ assignments: store.assignments }),
    book: {
      async recordFor(owner, chain) {
        if (owner === 'pi-9') throw new MesoliteError('FORBIDDEN', 'node pi-9 is revoked: it must join anew');
        book.push(`${owner} ${new X509Certificate(chain).subjectAltName}`);
      },
    },
    outgoing: words.outgoing,
    clock: words.clock,
    log: new CapturedLog(),
  });
  const keys = generateKeyPair();
  /** Asks in the name of `asking`; the chain, or why there is none. */
  const ask = async (asking: string, spiffeId: string, csr = createRequest(spiffeId, keys).toString('base64')) => {
    const head = { v: 1, boot: 1, seq: 0, ts: 0 } as const;
    await certificates.onRequest(asking, { ...head, id: 'request-1', spiffeId, csr });
    const [answer] = words.take('ack');
    t.equal(answer?.subject, asking);
    const { id, chain, error } = (answer?.body.certificate ?? {}) as Record<string, string>;
    t.equal(id, 'request-1');
    return { chain, error };
  };
  return { store, words, ask, book, keys };
}

t.test('a node gets certificates of the accounts that its tasks have, for the key that it shows', async t => {
  const { store, ask, book, keys } = await stage(t);
  await placeTask(store, 'pi-1', { id: 'web.default.0-a', serviceAccount: 'web' });
  const { chain = '' } = await ask('pi-1', account('web'));
  const certificate = new X509Certificate(chain);
  t.equal(certificate.subjectAltName, `URI:${account('web')}`);
  t.equal(keyIdOf(certificate.publicKey), keyIdOf(keys.publicKey));
  t.same(book, [`pi-1 URI:${account('web')}`], 'what is not in the book could not be revoked');
});

t.test('an account that it has no task of is refused: of another node, another namespace, or ended', async t => {
  const { store, ask, book } = await stage(t);
  await placeTask(store, 'pi-1', { id: 'web.default.0-a', serviceAccount: 'web' });
  t.match(await ask('pi-2', account('web')), { error: `node pi-2 has no task of ${account('web')}` });
  t.match(await ask('pi-1', account('web', 'other')), { error: /has no task/ });
  t.match(await ask('pi-1', account('admin')), { error: /has no task/ });
  await store.assignments.stop(['web.default.0-a']);
  t.match(await ask('pi-1', account('web')), { error: /has no task/ });
  await placeTask(store, 'pi-1', { id: 'web.default.0-b', serviceAccount: 'web' });
  t.match(await ask('pi-1', account('web')), { chain: /CERTIFICATE/ });
  await store.tasks.recordStatuses([statusOf('web.default.0-b', 'TASK_FAILED')], { node: 'pi-1', receivedAt: 1 });
  t.match(await ask('pi-1', account('web')), { error: /has no task/ });
  t.equal(book.length, 1);
});

t.test('a node renews its own certificate, and no other node’s', async t => {
  const { ask } = await stage(t);
  const { chain = '' } = await ask('pi-1', node('pi-1'));
  t.equal(new X509Certificate(chain).subjectAltName, `URI:${node('pi-1')}`);
  t.match(await ask('pi-1', node('pi-2')), { error: /has no task/ });
});

t.test('what the book does not take is not handed out', async t => {
  const { ask, book } = await stage(t);
  t.match(await ask('pi-9', node('pi-9')), { chain: undefined, error: /is revoked: it must join anew/ });
  t.same(book, []);
});

t.test('no other kind of identity is given, nor one of another trust domain', async t => {
  const { ask, store } = await stage(t);
  await placeTask(store, 'pi-1', { id: 'web.default.0-a', serviceAccount: 'web' });
  for (const spiffeId of [
    'spiffe://test.mesolite/master',
    'spiffe://test.mesolite/config',
    'spiffe://other/node/pi-1',
    'spiffe://other/ns/default/sa/web',
    'https://example.com',
  ]) {
    const { chain, error } = await ask('pi-1', spiffeId);
    t.equal(chain, undefined, spiffeId);
    t.ok(error, error ?? '');
  }
});

t.test('a request that is none, or is for somebody else, is answered with the reason', async t => {
  const { ask, keys } = await stage(t);
  t.match(await ask('pi-1', node('pi-1'), 'AAAA'), { chain: undefined, error: String });
  const forAnother = createRequest(node('pi-2'), keys).toString('base64');
  t.match(await ask('pi-1', node('pi-1'), forAnother), { error: /the request is for .*pi-2, only .*pi-1/ });
});

t.test('a node that asks without end is refused until the hour is over', async t => {
  const { ask, words } = await stage(t);
  for (let i = 0; i < perHour; i++) await ask('pi-1', account('none'), '');
  t.match(await ask('pi-1', node('pi-1')), { error: /has asked for 1000 certificates within an hour/ });
  t.match(await ask('pi-2', node('pi-2')), { chain: /CERTIFICATE/ }, 'another one is not harmed');
  await words.clock.advance(hourMs);
  t.match(await ask('pi-1', node('pi-1')), { chain: /CERTIFICATE/ });
});

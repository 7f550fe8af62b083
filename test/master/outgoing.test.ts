import t from 'tap';
import { masterTimes } from '../../src/master/config.ts';
import { makeRevisions, nextRevision } from '../../src/master/revisions.ts';
import { messageBounds } from '../../src/model/message.ts';
import { topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { MasterWords } from '../fixtures/master-words.ts';

t.test('revisions rise, with the time and without it, also when the clock is set back', async t => {
  const clock = new FakeClock(1_000.7);
  const next = makeRevisions(clock);
  t.same([next(), next(), next()], [1_000, 1_001, 1_002]);
  clock.setNow(5_000);
  t.equal(next(), 5_000);
  clock.setNow(10);
  t.equal(next(), 5_001);
  t.equal(nextRevision(7_000, clock), 7_001, 'after a restart it goes on from what is known');
});

t.test('what is said to one node is signed for it, on its topic, and good for a while', async t => {
  const { outgoing, clock, take } = withTake(new MasterWords());
  const body = { epoch: 1, generation: 1, full: true, base: 0, put: [], remove: [] };
  await outgoing.assignment('pi-1', body);
  await outgoing.ask('pi-1', { what: 'birth' });
  await outgoing.ack('pi-2', { audit: 7 });
  const expiresAt = clock.now() + masterTimes.messageTtlMs;
  const [assignment] = take('assignment');
  t.match(assignment, { subject: 'pi-1', topic: topics.down('pi-1', 'task'), retain: false, expiresAt, body });
  t.match(take('ask'), [{ subject: 'pi-1', topic: topics.down('pi-1', 'ask'), body: { what: 'birth' } }]);
  const [ack] = take('ack');
  t.match(ack, { subject: 'pi-2', topic: topics.down('pi-2', 'ack'), body: { audit: 7 } });
  t.ok((ack?.revision ?? 0) > (assignment?.revision ?? 0));
});

t.test('what is said to all is retained under its own revision', async t => {
  const { outgoing, clock, take } = withTake(new MasterWords());
  await outgoing.policy(5, { documents: [] });
  await outgoing.service('web.default', 6, { name: 'web' });
  await outgoing.manifest(7, { epoch: 1 });
  const documentEnd = clock.now() + masterTimes.documentTtlMs;
  t.match(take('policy'), [
    { topic: topics.policy, subject: 'all', revision: 5, retain: true, expiresAt: documentEnd },
  ]);
  t.match(take('service'), [
    { topic: topics.service('web.default'), subject: 'web.default', revision: 6, retain: true, expiresAt: documentEnd },
  ]);
  t.match(take('manifest'), [
    { topic: topics.manifest, revision: 7, retain: true, expiresAt: clock.now() + masterTimes.manifestTtlMs },
  ]);
});

t.test('what no node would take is not said', async t => {
  const { outgoing, words } = new MasterWords();
  const tooMuch = { text: 'x'.repeat(messageBounds.down.maxBytes) };
  await t.rejects(outgoing.policy(1, tooMuch), { code: 'TOO_LARGE', message: /^policy for all: \d+ bytes, at most/ });
  await t.rejects(
    outgoing.ask('pi-1', { what: 'log', id: '', task: 't', stream: 'stdout', tailBytes: 0, ...tooMuch }),
    {
      code: 'TOO_LARGE',
    },
  );
  t.same(words, []);
});

function withTake(words: MasterWords) {
  return { outgoing: words.outgoing, clock: words.clock, take: words.take.bind(words) };
}

import t, { type Test } from 'tap';
import { makeIncoming } from '../../src/agent/incoming.ts';
import { makeRefusals } from '../../src/agent/refusals.ts';
import { makeSender } from '../../src/agent/sender.ts';
import { hourMs, minuteMs } from '../../src/base/clock.ts';
import { silentLog } from '../../src/base/log.ts';
import { openFiles } from '../../src/device/files.ts';
import { makeEnvelopeVerifier } from '../../src/identity/signer.ts';
import { type Envelope, sealEnvelope } from '../../src/model/envelope.ts';
import { type DocumentAck, decodeUp } from '../../src/model/message.ts';
import { topics } from '../../src/model/topics.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { makeTestAuthority } from '../fixtures/test-authority.ts';

const now = Date.UTC(2030, 0, 1);
const { authority } = makeTestAuthority(now);
const stranger = makeTestAuthority(now);

function sealed(fields: Partial<Envelope>, signer = authority.signer): Buffer {
  const defaults = { kind: 'ask', subject: 'a', revision: 1, issuedAt: now, expiresAt: now + 10 * minuteMs } as const;
  return sealEnvelope({ ...defaults, body: { what: 'birth' }, ...fields }, signer);
}

const assignment = { epoch: 1, generation: 1, full: true, base: 0, put: [], remove: [] };

/** What node `a` does and says about messages that come to it. */
async function nodeA(t: Test, directory: string = t.testdir({})) {
  const clock = new FakeClock(now);
  const acks: DocumentAck[] = [];
  const done: string[] = [];
  const queue = (_: string, payload: Uint8Array) => acks.push(decodeUp('ack', payload));
  const sender = makeSender({ lanes: { queue, latest: queue }, clock }, { node: 'a', boot: 1 });
  const incoming = makeIncoming({
    verify: makeEnvelopeVerifier(authority.signers, authority.bundle, () => ({ now: clock.now() })),
    files: await openFiles(directory),
    clock,
    sender,
    refusals: makeRefusals({ sender, clock, log: silentLog }),
    log: silentLog,
    handlers: {
      async assignment({ generation }) {
        done.push(`assignment ${generation}`);
        return generation === 13 ? 'it does not stand on what is held' : undefined;
      },
      async ask({ what }) {
        done.push(what);
      },
      async ack({ nonce }, issuedAt) {
        done.push(`${nonce} at ${issuedAt}`);
      },
    },
  });
  await incoming.load();
  const hear = (what: 'task' | 'ask' | 'ack', wire: Uint8Array) => incoming.handle(topics.down('a', what), wire);
  return { hear, acks, done, clock, directory };
}

t.test('what is signed for this node and new is done', async t => {
  const { hear, acks, done } = await nodeA(t);
  await hear('ask', sealed({}));
  await hear('task', sealed({ kind: 'assignment', body: assignment }));
  await hear('ack', sealed({ kind: 'ack', body: { nonce: 'n' } }));
  t.same(done, ['birth', 'assignment 1', `n at ${now}`]);
  t.match(acks, [{ kind: 'assignment', subject: 'a', revision: 1, reason: undefined }]);
});

t.test('what was said before is refused and reported, of each kind by itself', async t => {
  const { hear, acks, done } = await nodeA(t);
  await hear('ask', sealed({ revision: 5 }));
  await hear('ask', sealed({ revision: 5 }));
  await hear('ask', sealed({ revision: 4 }));
  await hear('task', sealed({ kind: 'assignment', revision: 3, body: assignment }));
  await hear('task', sealed({ kind: 'assignment', revision: 3, body: assignment }));
  t.same(done, ['birth', 'assignment 1']);
  t.match(acks, [
    { kind: 'ask', subject: 'a', revision: 5, reason: /said before/ },
    { kind: 'ask', subject: 'a', revision: 4, reason: /said before/ },
    { kind: 'assignment', revision: 3, reason: undefined },
    { kind: 'assignment', revision: 3, reason: /said before/ },
  ]);
});

t.test('a question that was answered before a restart is not answered again', async t => {
  const { hear, directory } = await nodeA(t);
  await hear('ask', sealed({ revision: 5 }));
  const again = await nodeA(t, directory);
  await again.hear('ask', sealed({ revision: 5 }));
  t.same(again.done, []);
  t.match(again.acks, [{ kind: 'ask', revision: 5, reason: /said before/ }]);
  await again.hear('ask', sealed({ revision: 6 }));
  t.same(again.done, ['birth']);
});

t.test('what is late is refused, but for an acknowledgement, which may put the clock right', async t => {
  const { hear, acks, done, clock } = await nodeA(t);
  clock.setNow(now + hourMs);
  await hear('ask', sealed({}));
  await hear('task', sealed({ kind: 'assignment', body: assignment }));
  await hear('ack', sealed({ kind: 'ack', body: { nonce: 'n' } }));
  t.same(done, [`n at ${now}`]);
  t.match(acks, [
    { kind: 'ask', reason: /expired/ },
    { kind: 'assignment', reason: /expired/ },
  ]);
});

t.test('what is unsigned, of another signer, for another node or of another kind is refused and reported', async t => {
  const { hear, acks, done } = await nodeA(t);
  await hear('ask', Buffer.from('{"kind":"ask"}'));
  t.match(acks.pop(), { kind: 'ask', revision: 0, reason: /not signed/ });
  const others = [
    ['task', sealed({ kind: 'assignment', revision: 2, body: assignment }, stranger.authority.signer)],
    ['ask', sealed({ revision: 2, subject: 'b' })],
    ['ask', sealed({ revision: 3, kind: 'assignment', body: assignment })],
  ] as const;
  for (const [what, wire] of others) await hear(what, wire);
  t.same(done, []);
  t.equal(acks.filter(({ reason }) => reason !== undefined).length, acks.length);
  t.match(acks.at(0), { kind: 'assignment', reason: /does not verify/ });
});

t.test('why an assignment was not carried out goes back to the master', async t => {
  const { hear, acks } = await nodeA(t);
  await hear('task', sealed({ kind: 'assignment', body: { ...assignment, generation: 13 } }));
  t.match(acks, [{ kind: 'assignment', reason: 'it does not stand on what is held' }]);
});

t.test('a flood of what is refused becomes at most 60 reports a minute', async t => {
  const { hear, acks, clock } = await nodeA(t);
  await hear('ask', sealed({ revision: 1000 }));
  for (let revision = 1; revision <= 200; revision++) await hear('ask', sealed({ revision }));
  t.equal(acks.length, 60);
  await clock.advance(minuteMs);
  await hear('ask', sealed({ revision: 200 }));
  t.equal(acks.length, 61);
});

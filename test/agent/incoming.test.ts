import t, { type Test } from 'tap';
import { type DownHandlers, makeIncoming } from '../../src/agent/incoming.ts';
import { type DownKind, topics } from '../../src/model/topics.ts';
import { AgentWords } from '../fixtures/agent-words.ts';
import { FakeClock } from '../fixtures/fake-clock.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { makeSignedWords } from '../fixtures/signed-words.ts';

const clock = new FakeClock();
const { seal, verify } = makeSignedWords(clock);
const stranger = makeSignedWords(clock);

const assignment = { epoch: 1, generation: 2, full: true, base: 0, put: [], remove: [] };

function stage(_: Test, handlers: Partial<DownHandlers> = {}) {
  const words = new AgentWords({ node: 'pi-1', clock });
  const log = new CapturedLog();
  const heard: unknown[] = [];
  const hear = (what: string) => async (body: unknown) => void heard.push([what, body]);
  const incoming = makeIncoming({
    verify,
    sender: words.sender,
    log,
    handlers: {
      async assignment(body) {
        heard.push(['assignment', body]);
        return undefined;
      },
      ask: hear('ask'),
      ack: hear('ack'),
      ...handlers,
    },
  });
  const send = (kind: DownKind, wire: Uint8Array, node = 'pi-1') => incoming.handle(topics.down(node, kind), wire);
  return { words, log, heard, send };
}

t.test('what the master says to this node goes to the part that wants it', async t => {
  const { heard, send, words } = stage(t);
  await send('task', seal('assignment', 'pi-1', 7, assignment));
  await send('ask', seal('ask', 'pi-1', 8, { what: 'birth' }));
  await send('ack', seal('ack', 'pi-1', 9, { audit: 5, statuses: ['a'], news: 'of a later version' }));
  t.same(heard, [
    ['assignment', assignment],
    ['ask', { what: 'birth' }],
    ['ack', { audit: 5, statuses: ['a'] }],
  ]);
  t.match(words.take('ack'), [{ kind: 'assignment', subject: 'pi-1', revision: 7, reason: undefined }]);
});

t.test('an assignment that is not carried out is answered with the reason, whatever it is', async t => {
  const answers = [async () => 'it does not stand on what is held', async () => Promise.reject(new Error('disk full'))];
  const { send, words } = stage(t, { assignment: () => answers.shift()?.() ?? Promise.resolve(undefined) });
  for (const revision of [7, 8, 9]) await send('task', seal('assignment', 'pi-1', revision, assignment));
  t.match(words.take('ack'), [
    { kind: 'assignment', revision: 7, reason: 'it does not stand on what is held' },
    { revision: 8, reason: 'disk full' },
    { revision: 9, reason: undefined },
  ]);
});

t.test('what is not signed by the master for this node, or makes no sense, is dropped and logged', async t => {
  const { heard, send, log, words } = stage(t);
  const changed = Buffer.from(seal('ask', 'pi-1', 1, { what: 'birth' }));
  changed[changed.length - 3] = 0x20;
  const cases: readonly (readonly [DownKind, Uint8Array, RegExp])[] = [
    ['ask', Buffer.from('{"what":"birth"}'), /not signed/],
    ['ask', changed, /does not verify/],
    ['ask', stranger.seal('ask', 'pi-1', 1, { what: 'birth' }), /does not verify/],
    ['ask', seal('ask', 'pi-2', 1, { what: 'birth' }), /a ask for pi-2 came as ask for pi-1/],
    ['task', seal('ask', 'pi-1', 1, { what: 'birth' }), /came as assignment for pi-1/],
    ['ask', seal('ask', 'pi-1', 1, { what: 'sing' }), /^ask: what: /],
    ['task', seal('assignment', 'pi-1', 1, { ...assignment, put: [{}] }), /^assignment: put\[0\]/],
  ];
  for (const [kind, wire, reason] of cases) {
    await send(kind, wire);
    t.match(log.entries.at(-1), { sentence: 'a message of the master was dropped', fields: { reason } });
  }
  t.same(heard, []);
  t.same(words.words, []);
  await send('ask', seal('ask', 'pi-1', 1, { what: 'birth' }), 'pi-2');
  t.equal(log.entries.length, cases.length, 'what is said to others is not ours to judge');
});

t.test('a part that fails does not harm the next message', async t => {
  let fails = true;
  const { send, log, heard } = stage(t, {
    async ask(body) {
      if (fails) throw new Error('no such file');
      heard.push(body);
    },
  });
  await send('ask', seal('ask', 'pi-1', 1, { what: 'birth' }));
  t.match(log.entries.at(-1)?.fields, { what: 'ask', reason: 'no such file' });
  fails = false;
  await send('ask', seal('ask', 'pi-1', 2, { what: 'birth' }));
  t.same(heard, [{ what: 'birth' }]);
});

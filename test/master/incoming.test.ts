import t, { type Test } from 'tap';
import { makeIncoming, type UpHandlers } from '../../src/master/incoming.ts';
import { encodeMessage, messageBounds } from '../../src/model/message.ts';
import { topics, type UpKind } from '../../src/model/topics.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { birthOf, statusOf } from '../fixtures/master-store.ts';

function stage(_: Test, more: Partial<UpHandlers> = {}, hears?: (node: string) => boolean) {
  const log = new CapturedLog();
  const heard: unknown[] = [];
  const hear = (kind: UpKind) => (node: string, message: object) => void heard.push([kind, node, message]);
  const handlers: UpHandlers = {
    birth: hear('birth'),
    hb: hear('hb'),
    task: hear('task'),
    ack: hear('ack'),
    audit: hear('audit'),
    csr: hear('csr'),
    log: hear('log'),
    shadow: hear('shadow'),
    death: hear('death'),
    ...more,
  };
  const incoming = makeIncoming({ handlers, log, ...(hears && { hears }) });
  const say = (node: string, kind: UpKind, message: object | Buffer) =>
    incoming.handle(topics.up(node, kind), Buffer.isBuffer(message) ? message : encodeMessage(message));
  return { incoming, log, heard, say };
}

const head = { v: 1, boot: 1, seq: 0, ts: 0 };

t.test('what a node says goes to the part that wants it, without what it does not know', async t => {
  const { heard, say } = stage(t);
  const birth = birthOf();
  const statuses = [statusOf('a', 'TASK_RUNNING')];
  await say('pi-1', 'birth', { ...birth, ofALaterVersion: true });
  await say('pi-1', 'task', { ...head, statuses });
  await say('pi-2', 'death', { v: 1, boot: 3 });
  t.same(heard, [
    ['birth', 'pi-1', birth],
    ['task', 'pi-1', { ...head, statuses }],
    ['death', 'pi-2', { v: 1, boot: 3 }],
  ]);
});

t.test('what cannot be read is counted, logged once a node and kind, and dropped', async t => {
  const { incoming, heard, log, say } = stage(t);
  const malformed = [
    Buffer.from('no JSON'),
    Buffer.alloc(0),
    Buffer.from([0xff, 0x00]),
    Buffer.from('[]'),
    Buffer.from(`${'['.repeat(1_000)}${']'.repeat(1_000)}`),
    Buffer.alloc(messageBounds.up.maxBytes + 1, ' '),
    encodeMessage({ ...head, v: 2, full: true, usage: {}, held: '' }),
    encodeMessage({ ...head, full: 'yes', usage: {}, held: '' }),
  ];
  for (const payload of malformed) await say('pi-1', 'hb', payload);
  await say('pi-2', 'hb', Buffer.from('x'));
  await say('pi-1', 'task', { ...head, statuses: [] });
  t.same(heard, []);
  t.same(Object.fromEntries(incoming.malformed), { 'pi-1/hb': malformed.length, 'pi-2/hb': 1, 'pi-1/task': 1 });
  t.same(
    log.all('a malformed message was dropped').map(({ fields }) => [fields.node, fields.kind]),
    [
      ['pi-1', 'hb'],
      ['pi-2', 'hb'],
      ['pi-1', 'task'],
    ],
  );
  await say('pi-1', 'hb', { ...head, full: true, usage: {}, held: '' });
  t.equal(heard.length, 1, 'the next good one is heard');
});

t.test('a part that fails is logged and harms nobody else', async t => {
  const { log, heard, say } = stage(t, { hb: async () => Promise.reject(new Error('disk full')) });
  await say('pi-1', 'hb', { ...head, full: true, usage: {}, held: '' });
  t.match(log.all('a message could not be handled'), [{ fields: { node: 'pi-1', what: 'hb', reason: 'disk full' } }]);
  await say('pi-1', 'death', { v: 1, boot: 1 });
  t.equal(heard.length, 1);
});

t.test('who is not to be heard is not, and topics of others are none of ours', async t => {
  const { incoming, heard, log, say } = stage(t, {}, node => node !== 'pi-9');
  await say('pi-9', 'death', { v: 1, boot: 1 });
  await say('pi-9', 'hb', Buffer.from('no JSON'));
  await incoming.handle(topics.down('pi-1', 'ask'), Buffer.from('{}'));
  await incoming.handle('somewhere/else', Buffer.from('{}'));
  t.same(heard, []);
  t.same(log.entries, []);
});

t.test('so many senders of nonsense are told apart at most', async t => {
  const { incoming, say } = stage(t);
  for (let i = 0; i < 10_050; i++) await say(`n-${i}`, 'hb', Buffer.from('x'));
  t.equal(incoming.malformed.size, 10_000);
  await say('n-1', 'hb', Buffer.from('x'));
  t.equal(incoming.malformed.get('n-1/hb'), 2);
});

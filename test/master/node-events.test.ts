import t from 'tap';
import { makeNodeEvents } from '../../src/master/node-events.ts';
import type { DocumentAck } from '../../src/model/message.ts';
import { birthOf } from '../fixtures/board.ts';

function setUp() {
  const said: string[] = [];
  const events = { record: (kind: string, { message }: { message: string }) => void said.push(`${kind}: ${message}`) };
  return { said, nodeEvents: makeNodeEvents({ events }) };
}

const ack = (more: Partial<DocumentAck>): DocumentAck => ({
  v: 1,
  boot: 1,
  seq: 1,
  ts: 1,
  kind: 'policy',
  subject: 'all',
  revision: 7,
  ...more,
});

t.test('a link that goes by WebSocket, and back, is told once each way', async t => {
  const { said, nodeEvents } = setUp();
  const by = (via: 'mqtts' | 'wss') => birthOf({ boot: 1, seq: 1, via });
  nodeEvents.onBirth('pi-1', by('mqtts'), null);
  nodeEvents.onBirth('pi-1', by('wss'), by('mqtts'));
  nodeEvents.onBirth('pi-1', by('wss'), by('wss'));
  nodeEvents.onBirth('pi-1', by('mqtts'), by('wss'));
  t.match(said, [/^link-fallback: .*WebSocket/, /^link-restored: /]);
});

t.test('that more is written than a profile allows is told when it begins', async t => {
  const { said, nodeEvents } = setUp();
  const spent = (audit: number) => ({ disk: { byPurpose: { audit, state: 1 }, budgetBytes: 20_000_000 } });
  nodeEvents.onSpent('pi-1', undefined, undefined);
  nodeEvents.onSpent('pi-1', spent(1_000), undefined);
  nodeEvents.onSpent('pi-1', spent(30_000_000), spent(1_000));
  nodeEvents.onSpent('pi-1', spent(31_000_000), spent(30_000_000));
  t.match(said, [/^node-wears-out: .* 30 MB in 24 hours, most of it audit, of 20 MB$/]);
});

t.test('a clock that is wrong is told once a start, in words', async t => {
  const { said, nodeEvents } = setUp();
  const off = (offsetMs: number, boot: number, known = true) => birthOf({ boot, seq: 1, clock: { offsetMs, known } });
  const day = 86_400_000;
  nodeEvents.onBirth('pi-1', off(20_440 * day, 1), null);
  nodeEvents.onBirth('pi-1', off(20_440 * day, 1), off(20_440 * day, 1));
  nodeEvents.onBirth('pi-1', off(-3_600_000, 2), off(0, 1));
  nodeEvents.onBirth('pi-1', off(59_000, 3), off(0, 2));
  nodeEvents.onBirth('pi-1', off(0, 4, false), off(0, 3));
  t.match(said, [/20440 days behind/, /60 minutes ahead/, /does not know the time yet/]);
});

t.test('a document that is refused or withheld is told with its reason, one that is taken is not', async t => {
  const { said, nodeEvents } = setUp();
  nodeEvents.onAck('pi-1', ack({}));
  nodeEvents.onAck('pi-1', ack({ reason: 'older than what is in force' }));
  nodeEvents.onAck('pi-1', ack({ kind: 'service', subject: 'web.default', reason: 'not signed' }));
  nodeEvents.onAck('pi-1', ack({ reason: 'revision 9 did not come', withheld: true }));
  t.same(said, [
    'document-refused: policy: older than what is in force',
    'document-refused: service web.default: not signed',
    'document-withheld: policy: revision 9 did not come',
  ]);
});

t.test('statuses that are missing are told once, however often that is said', async t => {
  const { said, nodeEvents } = setUp();
  for (const uuid of ['a', 'a', 'b']) nodeEvents.onLost('pi-1', 7, { uuid, task: 't', state: 'TASK_RUNNING', at: 1 });
  t.match(said, [/^statuses-lost: 7 statuses of its tasks are missing/, /^statuses-lost: 7 /]);
  t.equal(said.length, 2);
});

t.test('silence and return are told', async t => {
  const { said, nodeEvents } = setUp();
  for (const change of ['born', 'unreachable', 'back', 'quarantined'] as const) nodeEvents.onChange('pi-1', change);
  t.match(said, [/^node-unreachable: /, /^node-ready: /]);
});

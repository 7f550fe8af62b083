import t, { type Test } from 'tap';
import { type Application, applyAssignment, nothingDesired } from '../../src/lifecycle/assignment.ts';
import { assignmentHash } from '../../src/lifecycle/spec-hash.ts';
import { makeAssignmentOutbox } from '../../src/master/assignment-outbox.ts';
import type { Assignment, DocumentAck, Heartbeat } from '../../src/model/message.ts';
import { CapturedLog } from '../fixtures/fleet-log.ts';
import { birthOf, enterNode, openTestStore, placeTask, sha256, statusOf } from '../fixtures/master-store.ts';
import { MasterWords } from '../fixtures/master-words.ts';

const head = { v: 1, boot: 1, seq: 0, ts: 0 } as const;
const heartbeat = (held: string): Heartbeat => ({ ...head, full: false, usage: {}, held });
const refusal = (reason?: string): DocumentAck => ({
  ...head,
  kind: 'assignment',
  subject: 'pi-1',
  revision: 1,
  ...(reason !== undefined && { reason }),
});

async function stage(t: Test) {
  const store = await openTestStore(t);
  await enterNode(store, 'pi-1');
  const words = new MasterWords();
  const log = new CapturedLog();
  const { assignments, tasks } = store;
  const withheld: string[] = [];
  const kept = new Set<string>();
  const onWithheld = (node: string, times: number) => void withheld.push(`${node} ${times}`);
  const start = () =>
    makeAssignmentOutbox({
      assignments,
      tasks,
      outgoing: words.outgoing,
      sha256,
      log,
      mayTell: node => !kept.has(node),
      onWithheld,
    });
  /** What a node holds that takes all that is said, and what it answers. */
  let held = nothingDesired;
  const said = () => words.take('assignment').map(({ body }) => body as unknown as Assignment);
  const deliver = (): Application['result'][] =>
    said().map(assignment => {
      const applied = applyAssignment(held, assignment);
      if (applied.result === 'taken') held = applied.desired;
      return applied.result;
    });
  const node = {
    tasks: () => [...held.tasks.keys()].sort(),
    hash: () => assignmentHash(held.tasks.values(), sha256),
    birth: () => birthOf({ held: node.hash(), epoch: held.epoch, generation: held.generation }),
  };
  const place = (id: string) => placeTask(store, 'pi-1', { id });
  return { store, words, log, withheld, kept, start, said, deliver, node, place };
}

t.test('a node whose state is not known gets all, and steps from then on', async t => {
  const { start, said, place, store } = await stage(t);
  const outbox = start();
  await place('a');
  await outbox.send(['pi-1']);
  t.match(said(), [{ full: true, put: [{ id: 'a' }], remove: [] }]);
  await place('b');
  await outbox.send(['pi-1']);
  const [step] = said();
  t.match(step, { full: false, base: (step?.generation ?? 0) - 1, put: [{ id: 'b' }], remove: [] });
  await store.assignments.stop(['a']);
  await outbox.send(['pi-1']);
  t.match(said(), [{ full: false, put: [], remove: ['a'] }]);
  await outbox.send(['pi-1', 'nobody']);
  t.same(said(), [], 'nothing has changed');
});

t.test('a node that follows the steps holds what the store has', async t => {
  const { start, deliver, place, node, store } = await stage(t);
  const outbox = start();
  await outbox.onBirth('pi-1', node.birth());
  for (const id of ['a', 'b', 'c']) {
    await place(id);
    await outbox.send(['pi-1']);
  }
  await store.tasks.recordStatuses([statusOf('b', 'TASK_FINISHED')], { node: 'pi-1', receivedAt: 1 });
  await outbox.send(['pi-1']);
  t.same(new Set(deliver()), new Set(['taken']));
  t.same(node.tasks(), ['a', 'c']);
  const wanted = await store.assignments.of('pi-1');
  t.equal(node.hash(), assignmentHash(wanted?.tasks ?? [], sha256));
});

t.test('a birth that holds just its assignment is followed by steps, any other by all of it', async t => {
  const { start, deliver, said, place, node } = await stage(t);
  const first = start();
  await place('a');
  await first.send(['pi-1']);
  deliver();

  const outbox = start();
  await outbox.onBirth('pi-1', node.birth());
  t.same(said(), [], 'a reconnect with an unchanged assignment says nothing');
  await place('b');
  await outbox.send(['pi-1']);
  t.same(deliver(), ['taken']);
  t.same(node.tasks(), ['a', 'b']);
  await outbox.onBirth('pi-1', birthOf({ held: 'something else', epoch: 1, generation: 99 }));
  t.match(said(), [{ full: true, put: [{ id: 'a' }, { id: 'b' }] }]);
});

t.test('a node that may not be told is told nothing, whatever it says', async t => {
  const { start, said, place, node, kept } = await stage(t);
  const outbox = start();
  kept.add('pi-1');
  await place('a');
  await outbox.send(['pi-1']);
  await outbox.onBirth('pi-1', node.birth());
  for (let i = 0; i < 3; i++) await outbox.onHeartbeat('pi-1', heartbeat('other'));
  await outbox.onAck('pi-1', refusal('older'));
  t.same(said(), []);
});

t.test('under another epoch all is said anew', async t => {
  const { store, start, deliver, said, place, node } = await stage(t);
  const outbox = start();
  await place('a');
  await outbox.send(['pi-1']);
  deliver();
  await store.meta.nextEpoch();
  await place('b');
  await outbox.send(['pi-1']);
  t.match(said()[0], { full: true, epoch: 2, put: [{ id: 'a' }, { id: 'b' }] });
  t.same(node.tasks(), ['a']);
});

t.test('one heartbeat of another set may have crossed a step, two in a row mean that it was lost', async t => {
  const { start, said, deliver, place, node } = await stage(t);
  const outbox = start();
  await place('a');
  await outbox.send(['pi-1']);
  deliver();
  const before = node.hash();
  await place('b');
  await outbox.send(['pi-1']);
  said();
  await outbox.onHeartbeat('pi-1', heartbeat(before));
  t.same(said(), []);
  await outbox.onHeartbeat('pi-1', heartbeat(before));
  t.match(deliver(), ['taken']);
  t.same(node.tasks(), ['a', 'b']);
  await outbox.onHeartbeat('pi-1', heartbeat(node.hash()));
  await outbox.onHeartbeat('pi-1', heartbeat(before));
  await outbox.onHeartbeat('pi-1', heartbeat(node.hash()));
  await outbox.onHeartbeat('pi-1', heartbeat(before));
  t.same(said(), [], 'not in a row');
});

t.test(
  'an assignment that is sent again and again and does not arrive is told, one that is refused is not',
  async t => {
    const { start, place, node, withheld, deliver } = await stage(t);
    const outbox = start();
    await place('a');
    await outbox.send(['pi-1']);
    const before = node.hash();
    const beat = async (times: number) => {
      for (let i = 0; i < times; i++) await outbox.onHeartbeat('pi-1', heartbeat(before));
    };
    await beat(6);
    t.same(withheld, []);
    await beat(2);
    t.same(withheld, ['pi-1 3']);
    await outbox.onAck('pi-1', refusal('no room on the disk'));
    await beat(6);
    t.same(withheld, ['pi-1 3'], 'a refusal says that it has come');
    deliver();
    await outbox.onHeartbeat('pi-1', heartbeat(node.hash()));
    await beat(6);
    t.same(withheld, ['pi-1 3']);
  },
);

t.test('a refused step is followed by all of it; a refused whole is not said again', async t => {
  const { start, said, place, log } = await stage(t);
  const outbox = start();
  await place('a');
  await outbox.send(['pi-1']);
  await place('b');
  await outbox.send(['pi-1']);
  said();
  await outbox.onAck('pi-1', refusal());
  await outbox.onAck('pi-1', { ...refusal('of a policy'), kind: 'policy' });
  t.same(said(), []);
  await outbox.onAck('pi-1', refusal('it does not stand on what is held'));
  t.match(said(), [{ full: true }]);
  await outbox.onAck('pi-1', refusal('no space is left on the disk'));
  t.same(said(), [], 'the heartbeats will tell');
  t.equal(log.all('a node did not carry out its assignment').length, 2);
});

t.test('of a task that was placed and stopped before its node heard of it, the node is asked', async t => {
  const { store, words, start, said, place } = await stage(t);
  const outbox = start();
  await place('a');
  await outbox.send(['pi-1']);
  said();
  await place('b');
  await store.assignments.stop(['b']);
  await outbox.send(['pi-1']);
  t.match(said(), [{ full: false, put: [], remove: [] }]);
  t.match(words.take('ask'), [{ subject: 'pi-1', body: { what: 'birth' } }]);

  await store.tasks.recordStatuses([statusOf('b', 'TASK_KILLED')], { node: 'pi-1', receivedAt: 1 });
  for (const id of ['c', 'd']) await place(id);
  await outbox.send(['pi-1']);
  for (const id of ['a', 'c', 'd']) await store.assignments.stop([id]);
  await outbox.send(['pi-1']);
  t.match(said().at(-1), { put: [], remove: ['a', 'c', 'd'] });
  t.same(words.take('ask'), [], 'those it has heard of it will end and report');
});

t.test('what changes at once is said one after the other', async t => {
  const { start, deliver, place, node, store } = await stage(t);
  const outbox = start();
  await outbox.onBirth('pi-1', node.birth());
  const ids = Array.from({ length: 20 }, (_, i) => `task-${i}`);
  await Promise.all(
    ids.map(async (id, i) => {
      await place(id);
      await outbox.send(['pi-1']);
      if (i % 3 === 0) await store.assignments.stop([id]);
      await outbox.send(['pi-1']);
    }),
  );
  t.same(new Set(deliver()), new Set(['taken']));
  t.same(node.tasks(), ids.filter((_, i) => i % 3 !== 0).sort());
});

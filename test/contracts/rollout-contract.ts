import type { Test } from 'tap';
import type { RolloutState } from '../../src/lifecycle/rollout.ts';
import type { DocumentChange, NewRollout } from '../../src/store/rollouts.ts';
import type { Store } from '../../src/store/store.ts';

const ref = (name: string) => ({ kind: 'AuthorizationPolicy', namespace: 'default', name });
const put = (name: string, json: string): DocumentChange => ({ ...ref(name), json });
const gone = (name: string): DocumentChange => ({ ...ref(name), json: null });
const running: RolloutState = {
  phase: 'running',
  step: 0,
  stage: 'waiting',
  waitedMs: 0,
  watchedMs: 0,
  rings: [['pi-1']],
  reason: null,
};
const ended = (phase: RolloutState['phase'], reason: string | null = null): RolloutState => ({
  ...running,
  phase,
  reason,
});
const newRollout = (changes: readonly DocumentChange[], more: Partial<NewRollout> = {}): NewRollout => ({
  subject: 'policy',
  spec: {
    steps: [
      { name: 'first', nodes: ['pi-1'], for: 1_000, timeout: 2_000 },
      { labels: { zone: 'a' }, for: 0, timeout: 1_000 },
      { percent: 12.5, for: 0, timeout: 1_000 },
    ],
    maxRise: { deniedPercent: 1, errorsPercent: 0.5 },
    minRequests: 20,
    offline: 'wait',
    minNodes: 2,
    onTimeout: 'pause',
  },
  changes,
  by: 'ann',
  state: running,
  startedAt: 5,
  ...more,
});

/** What every store does with rollouts. */
export async function rolloutContract(t: Test, open: (t: Test) => Promise<Store>): Promise<void> {
  t.test('a rollout is as it was begun, and then as it was saved last', async t => {
    const { rollouts } = await open(t);
    const rollout = newRollout([put('a', '{"a":1}'), gone('b')]);
    const begun = await rollouts.begin(rollout, { keep: 10 });
    t.same(begun, { ...rollout, name: 'policy-1', endedAt: null });
    t.same(await rollouts.list(), [begun]);
    const later: RolloutState = { ...running, step: 1, stage: 'watching', watchedMs: 7, rings: [['pi-1'], ['pi-2']] };
    await rollouts.save(begun.name, later);
    t.same(await rollouts.list(), [{ ...begun, state: later }]);
  });

  t.test('documents have none of it before its end, and with its end what is carried out', async t => {
    const { rollouts, documents } = await open(t);
    await documents.apply(
      [put('a', '{"a":1}'), put('b', '{}')].map(each => ({ ...each, json: each.json ?? '' })),
      1,
    );
    const changes = [put('a', '{"a":2}'), gone('b'), put('c', '{}')];
    const names = async () => (await documents.list()).map(({ name, json }) => `${name} ${json}`);
    const { name } = await rollouts.begin(newRollout(changes), { keep: 10 });
    t.same(await names(), ['a {"a":1}', 'b {}']);
    await rollouts.end({ name, state: ended('rolled-back', 'harm'), at: 8, carryOut: [] });
    t.same(await names(), ['a {"a":1}', 'b {}']);
    const over = { name, endedAt: 8, state: { phase: 'rolled-back', reason: 'harm' } };
    t.match(await rollouts.list(), [{ ...over, changes: [put('a', ''), gone('b'), put('c', '')] }], 'with names alone');

    const second = await rollouts.begin(newRollout(changes), { keep: 10 });
    await rollouts.end({ name: second.name, state: ended('succeeded'), at: 9, carryOut: changes });
    t.same(await names(), ['a {"a":2}', 'c {}']);
    await rollouts.carryOut([gone('a'), put('d', '{}')], 10);
    t.same(await names(), ['c {}', 'd {}'], 'without a rollout as well');
  });

  t.test('the next one ends the one before it with the same stroke, and the oldest ended are forgotten', async t => {
    const { rollouts } = await open(t);
    const begin = async (before?: string) => {
      const ends = before && { name: before, state: ended('superseded', 'by ann'), at: 6, carryOut: [] };
      return (await rollouts.begin(newRollout([put('a', '{}')]), { keep: 2, ...(ends && { ends }) })).name;
    };
    const first = await begin();
    const second = await begin(first);
    t.match(await rollouts.list(), [
      { name: second, endedAt: null },
      { name: first, endedAt: 6, state: { phase: 'superseded', reason: 'by ann' } },
    ]);
    const third = await begin(second);
    t.same(
      (await rollouts.list()).map(({ name }) => name),
      [third, second],
    );
    t.equal(third, 'policy-3', 'a number is never given twice');
  });
}

import fc from 'fast-check';
import t from 'tap';
import { decode } from '../../src/base/shape.ts';
import { hasRisen } from '../../src/lifecycle/rise.ts';
import {
  advanceRollout,
  endRollout,
  hasEnded,
  pauseRollout,
  type RolloutNode,
  type RolloutState,
  resumeRollout,
  startRollout,
  stepsOf,
} from '../../src/lifecycle/rollout.ts';
import { type RolloutSpec, rolloutSpecSchema } from '../../src/model/rollout.ts';

const spec = (more: object = {}): RolloutSpec =>
  decode(
    rolloutSpecSchema,
    {
      steps: [
        { nodes: ['a'], for: '1m' },
        { percent: 50, for: '1m' },
      ],
      ...more,
    },
    'rollout',
  );

const node = (id: string, more: Partial<RolloutNode> = {}): RolloutNode => ({
  id,
  labels: {},
  reachable: true,
  rank: id,
  acknowledged: true,
  ...more,
});
const fleet = ['a', 'b', 'c', 'd'].map(id => node(id));
const signs = (deniedBefore: readonly [number, number], deniedSince: readonly [number, number]) => {
  const share = ([bad, all]: readonly [number, number]) => ({ bad, all });
  return {
    denied: { before: share(deniedBefore), since: share(deniedSince) },
    errors: { before: { bad: 0, all: deniedBefore[1] }, since: { bad: 0, all: deniedSince[1] } },
  };
};

/** Looks again and again, a second apart. */
function live(state: RolloutState, s: RolloutSpec, nodes: readonly RolloutNode[], seconds: number): RolloutState {
  let now = state;
  for (let i = 0; i < seconds; i++) now = advanceRollout(now, s, nodes, 1_000);
  return now;
}

t.test('a good change goes from ring to ring, and in the end is everybody’s', async t => {
  const s = spec();
  let state = startRollout(s, fleet);
  t.same(state.rings, [['a']]);
  state = live(state, s, fleet, 61);
  t.match(
    state,
    { phase: 'running', step: 1, rings: [['a'], ['b']] },
    'half of four is one beside the one that has it',
  );
  state = live(state, s, fleet, 61);
  t.match(state, { phase: 'running', step: 2, rings: [['a'], ['b'], ['c', 'd']] });
  state = live(state, s, fleet, 60);
  t.match(state, { phase: 'running', stage: 'watching' }, 'the last step is watched like the others');
  state = live(state, s, fleet, 1);
  t.match(state, { phase: 'succeeded', reason: null });
});

t.test('a step waits for those who can be reached, and is not held by those who cannot', async t => {
  const s = spec({ steps: [{ nodes: ['a', 'b'], for: '0s', timeout: '10s' }] });
  const start = startRollout(s, fleet);
  const slow = [node('a'), node('b', { acknowledged: false })];
  t.match(live(start, s, slow, 9), { phase: 'running', stage: 'waiting' });
  const late = live(start, s, slow, 10);
  t.match(late, { phase: 'rolled-back', reason: 'step 1 of 2 (a, b): 1 of 2 nodes acknowledged it in time' });
  const away = [node('a'), node('b', { acknowledged: false, reachable: false })];
  t.match(live(start, s, away, 2), { step: 1 });
  const held = { ...s, offline: 'wait' } as const;
  t.match(live(start, held, away, 10), { phase: 'rolled-back' });
  const none = [
    node('a', { acknowledged: false, reachable: false }),
    node('b', { acknowledged: false, reachable: false }),
  ];
  t.match(live(start, s, none, 10), { phase: 'rolled-back' }, 'one at least has to have it');
  t.match(live(start, { ...s, minNodes: 2 }, away, 10), { phase: 'rolled-back' }, 'or as many as are wanted');
});

t.test('what nobody hears of is not watched, and what was watched counts', async t => {
  const s = spec({ steps: [{ nodes: ['a'], for: '1m', timeout: '10s' }] });
  const watched = live(startRollout(s, fleet), s, fleet, 31);
  const silent = fleet.map(each => ({ ...each, acknowledged: false }));
  const after = live(watched, s, silent, 5);
  t.match(after, { phase: 'running', step: 0, stage: 'waiting' });
  t.match(live(after, s, fleet, 29), { step: 0, stage: 'watching' });
  t.match(live(after, s, fleet, 30), { step: 1 });
  t.match(live(after, s, silent, 10), { phase: 'rolled-back' });
});

t.test('what runs out of time may be left to an operator', async t => {
  const s = spec({ steps: [{ nodes: ['a'], for: '0s', timeout: '10s' }], onTimeout: 'pause' });
  const start = startRollout(s, fleet);
  const slow = [node('a', { acknowledged: false })];
  const paused = live(start, s, slow, 11);
  t.match(paused, { phase: 'paused', reason: /0 of 1 nodes/ });
  t.same(live(paused, s, slow, 1_000), paused);
  const resumed = resumeRollout(paused);
  t.match(live(resumed, s, slow, 9), { phase: 'running' }, 'it has the whole time again');
  t.match(live(resumed, s, slow, 10), { phase: 'paused' });
});

t.test('a step that nobody is in does not pass for a success', async t => {
  const s = spec({ steps: [{ labels: { zone: 'tset' }, timeout: '10s' }] });
  t.match(live(startRollout(s, fleet), s, fleet, 10), {
    phase: 'rolled-back',
    reason: /\(nodes with zone=tset\): 0 of 0/,
  });
});

t.test('a node that refuses takes the change back, with its reason', async t => {
  const s = spec();
  const nodes = [node('a', { acknowledged: false, refused: 'it cannot be compiled' }), ...fleet.slice(1)];
  t.match(advanceRollout(startRollout(s, fleet), s, nodes, 1_000), {
    phase: 'rolled-back',
    reason: 'a refused it: it cannot be compiled',
  });
  const outside = [node('a'), node('b', { refused: 'something else' })];
  t.match(advanceRollout(startRollout(s, fleet), s, outside, 1_000), { phase: 'running' });
});

t.test('a rise of what is denied takes the change back, as soon as there is enough to tell', async t => {
  const s = spec();
  const start = startRollout(s, fleet);
  const with_ = (more: Partial<RolloutNode>) => advanceRollout(start, s, [node('a', more), ...fleet.slice(1)], 1_000);
  t.match(with_({ signs: signs([0, 1_000], [19, 19]) }), { phase: 'running' }, 'too few');
  t.match(with_({ signs: signs([0, 1_000], [20, 20]) }), {
    phase: 'rolled-back',
    reason: 'step 1 of 3 (a): denied rose from 0% (0 of 1000) to 100% (20 of 20)',
  });
  t.match(with_({ signs: signs([100, 100], [50, 50]) }), { phase: 'running' }, 'it was so before');
  t.match(with_({ signs: signs([0, 0], [20, 20]) }), { phase: 'rolled-back' }, 'nothing was known of before');
  t.match(with_({ acknowledged: false, signs: signs([0, 1_000], [30, 30]) }), { phase: 'rolled-back' });
  t.match(live(pauseRollout(start, 'x'), s, [node('a', { signs: signs([0, 9], [30, 30]) })], 1), {
    phase: 'rolled-back',
  });
});

t.test('the nodes that a step adds are not drowned by those before', async t => {
  const s = spec();
  const quiet = (id: string) => node(id, { signs: signs([0, 1_000_000], [0, 1_000_000]) });
  const two = live(startRollout(s, fleet), s, [quiet('a'), ...fleet.slice(1)], 61);
  t.equal(two.step, 1);
  const harmed = [quiet('a'), node('b', { signs: signs([0, 100], [25, 100]) }), ...fleet.slice(2)];
  t.match(advanceRollout(two, s, harmed, 1_000), { phase: 'rolled-back', reason: /to 25% \(25 of 100\)$/ });
});

t.test('a node that has always been worse is no rise when it is the busy one', async t => {
  const s = spec({ steps: [{ nodes: ['a', 'b'], for: '10m' }] });
  const start = startRollout(s, fleet);
  const asBefore = [
    node('a', { signs: signs([300, 1_000], [3_000, 10_000]) }),
    node('b', { signs: signs([0, 1_000], [0, 50]) }),
  ];
  t.match(live(start, s, asBefore, 3), { phase: 'running' });
  const worse = [node('a', { signs: signs([300, 1_000], [4_000, 10_000]) }), asBefore[1] ?? node('b')];
  t.match(live(start, s, worse, 1), {
    phase: 'rolled-back',
    reason: /denied rose from 29\.85% \(30\d of 10\d\d\) to 39\.8%/,
  });
  const unknown = [asBefore[0] ?? node('a'), node('b', { signs: signs([0, 0], [15, 50]) })];
  t.match(live(start, s, unknown, 3), { phase: 'running' }, 'who is not known from before is as the others');
});

t.test('who comes late gets what its ring has', async t => {
  const s = spec({ steps: [{ labels: { zone: 'test' }, for: '10m' }] });
  const labels = { zone: 'test' };
  const start = startRollout(s, [node('a', { labels }), node('b')]);
  const later = advanceRollout(start, s, [node('a', { labels }), node('b'), node('c', { labels })], 1_000);
  t.same(later.rings, [['a', 'c']]);
});

t.test('a share prefers nodes that are there, and is the same each time', async t => {
  const s = spec({ steps: [{ percent: 25 }] });
  t.same(startRollout(s, [node('a', { reachable: false }), ...fleet.slice(1)]).rings, [['b']]);
  t.same(startRollout(s, [...fleet].reverse()).rings, [['a']]);
  t.same(startRollout(spec({ steps: [{ percent: 1 }] }), fleet).rings, [['a']], 'one at least');
});

t.test('chance is not taken for a rise', async t => {
  t.notOk(hasRisen({ bad: 0, all: 1_000 }, { bad: 1, all: 20 }, 0.01), 'one of twenty');
  t.ok(hasRisen({ bad: 0, all: 1_000 }, { bad: 5, all: 20 }, 0.01));
  t.notOk(hasRisen({ bad: 50, all: 1_000 }, { bad: 70, all: 1_000 }, 0.01));
  t.ok(hasRisen({ bad: 50, all: 1_000 }, { bad: 120, all: 1_000 }, 0.01));
  t.notOk(hasRisen({ bad: 0, all: 0 }, { bad: 0, all: 0 }, 0));
});

// Any fleet, any spec, and whatever happens.

const id = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const ring = fc.oneof(
  fc.record({ nodes: fc.uniqueArray(id, { minLength: 1, maxLength: 3 }) }),
  fc.record({ labels: fc.constantFrom({ zone: 'x' }, { zone: 'y' }) }),
  fc.record({ percent: fc.constantFrom(1, 10, 50, 100) }),
);
const anySpec = fc
  .record({
    steps: fc.array(
      fc.tuple(ring, fc.constantFrom('0s', '5s', '30s'), fc.constantFrom('1s', '20s')).map(([of, wait, timeout]) => ({
        ...of,
        for: wait,
        timeout,
      })),
      { minLength: 1, maxLength: 5 },
    ),
    offline: fc.constantFrom('skip', 'wait'),
    minNodes: fc.constantFrom(1, 2, 9),
    onTimeout: fc.constantFrom('rollback', 'pause'),
  })
  .map(each => decode(rolloutSpecSchema, each, 'rollout'));
const anyNode = fc.record({
  id,
  zone: fc.constantFrom('x', 'y', 'z'),
  reachable: fc.boolean(),
  acknowledged: fc.boolean(),
  refused: fc.option(fc.constant('no'), { nil: undefined, freq: 20 }),
  denied: fc.nat(60),
  seen: fc.nat(60),
});
const anyFleet = fc.uniqueArray(anyNode, { selector: each => each.id, maxLength: 6 }).map(nodes =>
  nodes.map(({ id, zone, denied, seen, ...more }): RolloutNode => {
    const rank = String.fromCharCode(219 - id.charCodeAt(0));
    return { id, labels: { zone }, rank, signs: signs([1, 50], [Math.min(denied, seen), seen]), ...more };
  }),
);
const anyDeed = fc.oneof(
  fc.record({ look: anyFleet, elapsedMs: fc.constantFrom(0, 1_000, 5_000) }),
  fc.constantFrom('pause', 'resume', 'abort', 'supersede'),
);
type Deed = typeof anyDeed extends fc.Arbitrary<infer T> ? T : never;

function does(state: RolloutState, s: RolloutSpec, deed: Deed): RolloutState {
  if (typeof deed !== 'string') return advanceRollout(state, s, deed.look, deed.elapsedMs);
  if (deed === 'pause') return pauseRollout(state, 'by a test');
  if (deed === 'resume') return resumeRollout(state);
  return endRollout(state, deed === 'abort' ? 'aborted' : 'superseded', 'by a test');
}

t.test('whatever happens: a node is in one ring and stays there, steps only go on, and an end is an end', async () => {
  fc.assert(
    fc.property(anySpec, anyFleet, fc.array(anyDeed, { maxLength: 60 }), (s, first, deeds) => {
      let state = startRollout(s, first);
      for (const deed of deeds) {
        const next = does(state, s, deed);
        const members = next.rings.flat();
        if (new Set(members).size !== members.length) return false;
        if (!state.rings.every((ring, i) => ring.every(member => next.rings[i]?.includes(member)))) return false;
        if (next.step < state.step || next.step > state.step + 1 || next.rings.length !== next.step + 1) return false;
        if (next.step >= stepsOf(s).length) return false;
        if (hasEnded(state) && next !== state) return false;
        if (next.phase === 'succeeded' && next.step !== stepsOf(s).length - 1) return false;
        if (hasEnded(next) && next.phase !== 'succeeded' && next.reason === null) return false;
        state = next;
      }
      return true;
    }),
    { numRuns: 2_000 },
  );
});

t.test('a newer push always wins, wherever a rollout is', async () => {
  fc.assert(
    fc.property(anySpec, anyFleet, fc.array(anyDeed, { maxLength: 30 }), (s, first, deeds) => {
      const state = deeds.reduce((at, deed) => does(at, s, deed), startRollout(s, first));
      const after = endRollout(state, 'superseded', 'by a test');
      return hasEnded(state) ? after === state : after.phase === 'superseded';
    }),
  );
});

t.test('every run that nobody holds comes to its end, in the time that its steps allow', async () => {
  fc.assert(
    fc.property(anySpec, anyFleet, fc.array(anyFleet, { maxLength: 20 }), (s, first, fleets) => {
      const wholeMs = stepsOf(s).reduce((sum, step) => sum + step.for + step.timeout, 0);
      let state = startRollout(s, first);
      for (let ms = 0; ms <= wholeMs + 1_000 * 2 * stepsOf(s).length; ms += 1_000) {
        if (hasEnded(state) || state.phase === 'paused') return true;
        state = advanceRollout(state, s, fleets[(ms / 1_000) % Math.max(1, fleets.length)] ?? first, 1_000);
      }
      return hasEnded(state) || state.phase === 'paused';
    }),
    { numRuns: 500 },
  );
});

import t from 'tap';
import {
  beginUpdate,
  lookAtUpdate,
  newWatch,
  type UpdateState,
  type UpdateTask,
} from '../../src/lifecycle/job-update.ts';

const rules = {
  maxParallel: 1,
  canary: 0,
  autoPromote: false,
  minHealthyTime: 2_000,
  healthyDeadline: 10_000,
  autoRevert: true,
  order: 'startFirst',
} as const;
const labels = ['0', '1', '2'];
const task = (id: string, more: Partial<UpdateTask> = {}): UpdateTask => ({
  id,
  label: id.slice(-1),
  isNew: id.startsWith('new'),
  live: true,
  failed: false,
  ready: true,
  message: undefined,
  ...more,
});
const old = labels.map(label => task(`old-${label}`));

/** Carries out what each look wants, at once, and looks again each second; a new task is ready when the next look comes. */
function play(changes: Partial<Parameters<typeof lookAtUpdate>[0]> = {}, isReady = (_: string) => true) {
  const all = { ...rules, ...changes };
  const board = { tasks: old as readonly UpdateTask[], state: beginUpdate(all) as UpdateState, most: 0, fewest: 3 };
  const look = () => {
    const seen = lookAtUpdate(all, labels, board.tasks, board.state, 1_000);
    board.state = seen.state;
    const started = seen.start.map(label => task(`new-${label}`, { ready: isReady(label) }));
    board.tasks = [...board.tasks.filter(each => !seen.stop.includes(each.id)), ...started];
    board.most = Math.max(board.most, board.tasks.length);
    board.fewest = Math.min(board.fewest, board.tasks.filter(each => each.ready).length);
    return seen.verdict;
  };
  const toEnd = () => {
    for (let i = 0; i < 100; i++) {
      const verdict = look();
      if (verdict !== 'goes on') return verdict;
    }
    return 'never';
  };
  return { board, look, toEnd };
}

const ids = (tasks: readonly UpdateTask[]) => tasks.map(({ id }) => id).sort();

t.test('a service is replaced one by one, and each new task is well before its old one goes', async t => {
  const { board, toEnd } = play();
  t.equal(toEnd(), 'done');
  t.same(ids(board.tasks), ['new-0', 'new-1', 'new-2']);
  t.same([board.most, board.fewest], [4, 3]);
});

t.test('where there is no room for both, the old one makes it; so many at once as is said', async t => {
  const { board, toEnd } = play({ order: 'stopFirst', maxParallel: 2 });
  t.equal(toEnd(), 'done');
  t.equal(board.most, 3);
});

t.test('canaries run beside the old tasks until they are promoted', async t => {
  const { board, toEnd } = play({ canary: 1 });
  t.equal(toEnd(), 'waits');
  t.equal(toEnd(), 'waits');
  t.same(ids(board.tasks), ['new-0', 'old-0', 'old-1', 'old-2']);
  board.tasks = board.tasks.filter(({ id }) => id !== 'old-2');
  t.equal(toEnd(), 'waits');
  t.ok(ids(board.tasks).includes('new-2'), 'what nobody serves any more is served by the new version');
  board.state = { ...board.state, phase: 'rolling' };
  t.equal(toEnd(), 'done');
  t.same(ids(board.tasks), ['new-0', 'new-1', 'new-2']);
  t.equal(play({ canary: 2, autoPromote: true }).toEnd(), 'done');
});

t.test('a task that does not get well in time fails the update, and has harmed nobody', async t => {
  const { board, toEnd } = play({}, label => label !== '1');
  t.match(toEnd(), { failed: 'task new-1 was not ready within 10 s' });
  t.equal(board.fewest, 3);
});

t.test(
  'a task that ends by itself fails the update at once, with its reason; one of an earlier update does not',
  async t => {
    const dead = task('new-0', { live: false, failed: true, ready: false, message: 'exit code 3' });
    const state = { ...beginUpdate(rules), watches: new Map([['new-0', newWatch]]) };
    const { verdict } = lookAtUpdate(rules, labels, [...old, dead], state, 1_000);
    t.same(verdict, { failed: 'task new-0 has failed: exit code 3' });
    t.match(lookAtUpdate(rules, labels, [...old, dead], beginUpdate(rules), 1_000), {
      verdict: 'goes on',
      start: ['0'],
    });
  },
);

t.test('a task counts when it has been ready for long enough without a break', async t => {
  const flaps = [true, false, true, true, true];
  let state = beginUpdate(rules);
  const healthy = flaps.map(ready => {
    const seen = lookAtUpdate(rules, labels, [...old, task('new-0', { ready })], state, 1_000);
    state = seen.state;
    return seen.healthy;
  });
  t.same(healthy, [0, 0, 0, 0, 1]);
});

t.test('a version that is taken back goes at once where it serves nobody, and in steps where it does', async t => {
  const state: UpdateState = { phase: 'reverting', watches: new Map() };
  const bad = [task('old-0'), task('old-1', { ready: false }), task('new-2')];
  const first = lookAtUpdate({ ...rules, maxParallel: 2 }, labels, bad, state, 1_000);
  t.match(first, { start: ['1', '0'], stop: ['old-1'], verdict: 'goes on' });
});

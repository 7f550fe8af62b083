import fc from 'fast-check';
import t from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import { addResources, type Resources } from '../../src/model/resources.ts';
import { applyEvents, type Ledger } from '../../src/scheduling/ledger.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import { planRound, type RunningTask } from '../../src/scheduling/plan.ts';
import { chooseVictims, type Victim } from '../../src/scheduling/preempt.ts';
import { makeScheduler } from '../../src/scheduling/scheduler.ts';
import { amounts, aNode, aRound, aTask, ledgerOf, noon } from './fixtures.ts';

const scheduler = makeScheduler();

const anyHolder = fc.record({
  priority: fc.integer({ min: 0, max: 9 }),
  cpus: fc.integer({ min: 1, max: 4 }),
  startedAt: fc.option(fc.nat(20)),
});

t.test('those who go make room, are all of a lower priority, and none is superfluous', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(
        fc.array(anyHolder, { maxLength: 10 }),
        fc.nat(9),
        fc.nat(10),
        fc.nat(3),
        (some, priority, need, has) => {
          const holders = some.map(
            ({ cpus, ...rest }, i): Victim => ({ ...rest, task: `t${i}`, resources: amounts(cpus), graceMs: 0 }),
          );
          const free = amounts(has);
          const fits = ({ scalars }: Resources) => (scalars.cpus ?? 0) >= need * 1000;
          // t0 may never go
          const mayGo = (victims: readonly Victim[]) => victims.every(({ task }) => task !== 't0');
          const victims = chooseVictims({ holders, priority, free, fits, mayGo });
          const freed = (those: readonly Victim[]) =>
            those.reduce((sum, { resources }) => addResources(sum, resources), free);
          const lower = holders.filter(each => each.priority < priority && each.task !== 't0');
          if (victims === undefined) {
            if (fits(freed(lower))) throw new Error('there was room to make');
            return;
          }
          if (!fits(freed(victims))) throw new Error('more is promised than there is');
          if (victims.some(victim => !lower.includes(victim))) throw new Error('one that may not go');
          for (const victim of victims)
            if (fits(freed(victims.filter(each => each !== victim)))) throw new Error('a victim too many');
          const mostImportant = victims.reduce((most, each) => Math.max(most, each.priority), -1);
          if (victims.length > 0 && fits(freed(lower.filter(each => each.priority < mostImportant))))
            throw new Error('less important ones would do');
        },
      ),
      { seed: 11, numRuns: 1000 },
    ),
  );
});

t.test('of equals the youngest goes', async t => {
  const holder = (task: string, startedAt: number | null): Victim => ({
    ...{ task, priority: 1, startedAt, graceMs: 0, resources: amounts(1) },
  });
  const victims = chooseVictims({
    holders: [holder('old', 1), holder('young', 9), holder('older', 0)],
    priority: 2,
    free: amounts(0),
    fits: ({ scalars }) => (scalars.cpus ?? 0) >= 1000,
    mayGo: () => true,
  });
  t.match(victims, [{ task: 'young' }]);
});

/** Nodes of one core, each taken by a task. */
function busy(tasks: Readonly<Record<string, Partial<RunningTask> & { node: string }>>) {
  const entries = Object.entries(tasks);
  const nodes = entries.map(([, { node }]) => node);
  const ledger: Ledger = applyEvents(
    ledgerOf(Object.fromEntries(nodes.map(node => [node, amounts(1, 64)]))),
    entries.map(([task, { node, role }]) => ({ type: 'TaskPlaced', task, node, role, resources: amounts(1, 64) })),
  ).ledger;
  const running = new Map(
    entries.map(([id, more]) => [
      id,
      { ...aTask(id), startedAt: noon, expectedMs: minuteMs, killGraceMs: 5000, ...more },
    ]),
  );
  return { nodes: nodes.map(node => aNode(node)), state: { ledger, running } };
}

const urgent = (more: Partial<PendingTask> = {}) => aTask('urgent', { priority: 90, preempts: true, ...more });

t.test('who asks for it has the least important end, and says so', async t => {
  const { nodes, state } = busy({ b: { node: 'n1', priority: 20 }, a: { node: 'n2', priority: 10 } });
  const plan = planRound(aRound(nodes, [urgent()], state), scheduler);
  const place = { node: 'n2', startAt: noon + 5 * secondMs };
  t.match(plan.preemptions, [{ task: 'urgent', ...place, victims: ['a'] }]);
  t.match(plan.waiting, [{ task: 'urgent', why: 'ends a on node n2 for its place', expected: place }]);
  t.same(planRound(aRound(nodes, [urgent({ preempts: false })], state), scheduler).preemptions, [], 'only then');
});

t.test('nobody is ended who is as important, may not be, or for a place that comes as soon', async t => {
  for (const [what, holder] of Object.entries({
    'of equal priority': { priority: 90 },
    'not to be ended': { priority: 10, preemptible: false },
    'about to end': { priority: 10, expectedMs: 2 * secondMs },
    'told to end': { priority: 10, stopping: true },
  })) {
    const { nodes, state } = busy({ a: { node: 'n1', ...holder } });
    t.same(planRound(aRound(nodes, [urgent()], state), scheduler).preemptions, [], what);
  }
});

t.test('what a role was guaranteed is left to it', async t => {
  const { nodes, state } = busy({ a: { node: 'n1', priority: 10, role: 'eng' } });
  const policies = (cpus: number) => new Map([['eng', { weight: 1, guarantees: { cpus }, limits: {} }]]);
  const victims = (cpus: number) =>
    planRound(aRound(nodes, [urgent()], { ...state, policies: policies(cpus) }), scheduler).preemptions.flatMap(
      each => each.victims,
    );
  t.same([victims(1000), victims(0)], [[], ['a']]);
});

t.test('the place that was freed is kept for its task, whoever ranks before it', async t => {
  const { nodes, state } = busy({ a: { node: 'n1', priority: 10, stopping: true } });
  const pending = [aTask('first', { priority: 99 }), urgent()];
  const promised = new Map([['urgent', 'n1']]);
  const waiting = planRound(aRound(nodes, pending, { ...state, promised }), scheduler).waiting;
  t.match(waiting, [
    { task: 'urgent', why: /^waits for node n1, where others end for it/, expected: { startAt: noon + 5 * secondMs } },
    { task: 'first' },
  ]);
  const { ledger } = applyEvents(state.ledger, [{ type: 'TaskEnded', task: 'a' }]);
  const after = planRound(aRound(nodes, pending, { ledger, promised }), scheduler);
  t.match(after.launches, [{ task: 'urgent', node: 'n1' }]);
  t.same(after.preemptions, []);
});

t.test('what would not end before its node is drained goes elsewhere, or waits', async t => {
  const ledger = ledgerOf({ a: amounts(1, 64), b: amounts(1, 64) });
  const closing = aNode('a', { closesAt: noon + 5 * minuteMs });
  const long = { expectedMs: 10 * minuteMs };
  const place = (task: PendingTask, nodes = [closing, aNode('b')]) =>
    planRound(aRound(nodes, [task], { ledger }), scheduler).launches.map(({ node }) => node);
  t.same(place(aTask('short', { expectedMs: minuteMs })), ['a']);
  t.same(place(aTask('long', long)), ['b']);
  t.same(place(aTask('web', { type: 'service', strategy: 'spread' })), ['b'], 'a service counts as ten minutes');
  const alone = planRound(aRound([closing], [aTask('long', long)], { ledger }), scheduler);
  t.match(alone.waiting, [{ reasons: [{ why: 'is drained in 5 min, before it would end' }] }]);
});

import fc from 'fast-check';
import t from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import { seededRandom } from '../../src/base/random.ts';
import type { Constraint } from '../../src/model/job.ts';
import { sharesOf } from '../../src/scheduling/allocator.ts';
import { checkLedger } from '../../src/scheduling/check-ledger.ts';
import { applyEvents, freeOf, type Ledger } from '../../src/scheduling/ledger.ts';
import { makeOffers, type Scheduler } from '../../src/scheduling/offers.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import { type Plan, planRound, type RoundInput, type RunningTask } from '../../src/scheduling/plan.ts';
import { makeRoster, type SchedulingNode } from '../../src/scheduling/roster.ts';
import { defaultSchedulerSettings, makeScheduler } from '../../src/scheduling/scheduler.ts';
import { amounts, aNode, aRound, aTask, ledgerOf, noon } from './fixtures.ts';

const scheduler = makeScheduler();
const service = (id: string, more: Partial<PendingTask> = {}) =>
  aTask(id, { type: 'service', strategy: 'spread', job: 'web', class: 'default/web', ...more });
const nodesOf = (plan: Plan) => Object.fromEntries(plan.launches.map(({ task, node }) => [task, node]));

/** The ledger with tasks of one core that run since noon. */
function running(ledger: Ledger, tasks: Readonly<Record<string, Partial<RunningTask> & { node: string }>>) {
  const entries = Object.entries(tasks);
  return {
    ledger: applyEvents(
      ledger,
      entries.map(([task, { node }]) => ({ type: 'TaskPlaced', task, node, resources: amounts(1, 64) })),
    ).ledger,
    running: new Map(entries.map(([id, more]) => [id, { ...aTask(id), startedAt: noon, ...more }])),
  };
}

t.test('a task is placed on the node where it ends first, with its ports, and the ledger holds it', async t => {
  const ports = [{ begin: 31000, end: 31009 }];
  const ledger = ledgerOf({ slow: amounts(4, 512, ports), fast: amounts(4, 512, ports) });
  const nodes = [aNode('slow', { profile: 'zero', speed: 0.2 }), aNode('fast', { profile: 'n100', speed: 2 })];
  const plan = planRound(
    aRound(nodes, [aTask('t', { portCount: 2, expectedMs: 10 * secondMs })], { ledger }),
    scheduler,
  );
  t.match(plan.launches, [
    {
      task: 't',
      node: 'fast',
      offer: '1.fast',
      ports: [31000, 31001],
      resources: { scalars: { cpus: 1000 }, ranges: { ports: [{ begin: 31000, end: 31001 }] } },
      expectedEndAt: noon + 5 * secondMs,
    },
  ]);
  t.same(plan.waiting, []);
  t.same(freeOf(plan.ledger, 'fast'), amounts(3, 448, [{ begin: 31002, end: 31009 }]));
  t.equal(plan.replanAt, null);
});

t.test('a task waits for a busy fast node when it ends there sooner than on a free slow one', async t => {
  const nodes = [aNode('slow', { profile: 'zero', speed: 0.1 }), aNode('pi-4')];
  const busy = running(ledgerOf({ slow: amounts(1, 64), 'pi-4': amounts(1, 64) }), {
    r: { node: 'pi-4', expectedMs: 3 * secondMs },
  });
  const plan = planRound(aRound(nodes, [aTask('t', { expectedMs: 10 * secondMs })], busy), scheduler);
  t.same(plan.launches, []);
  t.match(plan.waiting, [
    {
      task: 't',
      why: 'waits for node pi-4, expected free in 3 s',
      expected: { node: 'pi-4', startAt: noon + 3 * secondMs, endAt: noon + 13 * secondMs },
      reasons: [
        { node: 'slow', why: 'has room, but it would end 87 s later than on pi-4' },
        { node: 'pi-4', why: 'needs 1 cpus, has 0 cpus free; needs 64 MB mem, has 0 MB mem free' },
      ],
    },
  ]);
  t.equal(plan.replanAt, noon + 3 * secondMs);
});

t.test('a task that waits for a node which never comes free takes the slow one in the end', async t => {
  const nodes = [aNode('slow', { profile: 'zero', speed: 0.1 }), aNode('pi-4')];
  const busy = running(ledgerOf({ slow: amounts(1, 64), 'pi-4': amounts(1, 64) }), {
    r: { node: 'pi-4', expectedMs: 3 * secondMs },
  });
  const pending = [aTask('t', { expectedMs: 10 * secondMs })];
  let now = noon;
  for (let round = 0; round < 100; round++) {
    const plan = planRound(aRound(nodes, pending, { ...busy, now }), scheduler);
    if (plan.launches.length > 0) break;
    t.ok(plan.replanAt !== null && plan.replanAt >= now + secondMs, 'it says when to look again');
    now = plan.replanAt ?? now;
  }
  t.ok(now > noon + 3 * secondMs && now < noon + 5 * minuteMs, `took it after ${now - noon} ms`);
});

t.test('what a task holds is not given away at the moment when it should have ended', async t => {
  const busy = running(ledgerOf({ a: amounts(1, 64) }), { r: { node: 'a', expectedMs: 3 * secondMs } });
  for (const now of [noon + 3 * secondMs - 0.0001, noon + 3 * secondMs, noon + minuteMs]) {
    const plan = planRound(aRound([aNode('a')], [aTask('t')], { ...busy, now }), scheduler);
    t.same([plan.launches, plan.refused], [[], []]);
  }
  const held = { task: 'r', job: 'default/job', resources: amounts(1), endAt: noon - minuteMs };
  const state = { ...aNode('a'), total: amounts(2), allocated: amounts(1), free: amounts(1), holdings: [held] };
  const ledger = ledgerOf({ a: amounts(1) });
  const offers = makeOffers(ledger, [state], '1');
  const wide = aTask('t', { needs: amounts(2) });
  t.same(
    scheduler.place(offers, [wide], {
      now: noon,
      roster: makeRoster([state]),
      stateOf: () => state,
      roomOf: () => state,
      instancesOf: () => new Map(),
      promised: new Map(),
      shares: sharesOf(ledger, new Map()),
      expectedMs: () => 1,
    }).launches,
    [],
  );
});

t.test('what comes free on a node that shrank first pays what it lacks', async t => {
  const busy = running(ledgerOf({ a: amounts(4, 512) }), {
    r: { node: 'a', expectedMs: 3 * secondMs },
    s: { node: 'a', expectedMs: 5 * secondMs, class: 'default/other' },
  });
  const shrunk = applyEvents(busy.ledger, [{ type: 'NodeRegistered', node: 'a', total: amounts(1, 512) }]).ledger;
  const { waiting } = planRound(aRound([aNode('a')], [aTask('t')], { ...busy, ledger: shrunk }), scheduler);
  t.match(waiting, [{ expected: { startAt: noon + 5 * secondMs } }]);
});

t.test('services spread over nodes, then to the one with most left', async t => {
  const ledger = ledgerOf({ a: amounts(4, 512), b: amounts(8, 1024), c: amounts(8, 1024) });
  const nodes = ['a', 'b', 'c'].map(id => aNode(id));
  const web = running(ledger, { 'web-0': { node: 'b', type: 'service', job: 'web' }, other: { node: 'a' } });
  const pending = [1, 2, 3].map(n => service(`web-${n}`, { order: n }));
  t.same(nodesOf(planRound(aRound(nodes, pending, web), scheduler)), { 'web-1': 'c', 'web-2': 'a', 'web-3': 'b' });
});

t.test('binpack fills the fullest node that has room', async t => {
  const ledger = ledgerOf({ a: amounts(4, 512), b: amounts(4, 512), c: amounts(4, 512) });
  const nodes = ['a', 'b', 'c'].map(id => aNode(id));
  const busy = running(ledger, { r: { node: 'b' } });
  const pending = [1, 2, 3, 4].map(n => service(`web-${n}`, { order: n, strategy: 'binpack' }));
  t.same(nodesOf(planRound(aRound(nodes, pending, busy), scheduler)), {
    'web-1': 'b',
    'web-2': 'b',
    'web-3': 'b',
    'web-4': 'a',
  });
});

t.test('a large task keeps its place: small ones fill the time before it, longer ones do not push it back', async t => {
  const ledger = ledgerOf({ a: amounts(2, 512) });
  const busy = running(ledger, { r: { node: 'a', expectedMs: 10 * secondMs } });
  const pending = [
    aTask('large', { priority: 90, needs: amounts(2, 64), expectedMs: minuteMs }),
    aTask('long', { expectedMs: 20 * secondMs }),
    aTask('short', { expectedMs: 9 * secondMs }),
    service('forever', { expectedMs: secondMs }),
  ];
  const plan = planRound(aRound([aNode('a')], pending, busy), scheduler);
  t.same(nodesOf(plan), { short: 'a' });
  const waiting = new Map(plan.waiting.map(one => [one.task, one]));
  t.match(waiting.get('large')?.expected, { startAt: noon + 10 * secondMs });
  t.match(waiting.get('long')?.expected, { startAt: noon + 70 * secondMs });
});

t.test('what is free but kept for a task ahead is called so', async t => {
  const busy = running(ledgerOf({ a: amounts(2, 512) }), { r: { node: 'a', expectedMs: 10 * secondMs } });
  const pending = [
    aTask('large', { priority: 90, needs: amounts(2, 64) }),
    service('forever', { expectedMs: secondMs }),
  ];
  const { waiting } = planRound(aRound([aNode('a')], pending, busy), scheduler);
  t.same(waiting.find(({ task }) => task === 'forever')?.reasons, [
    { node: 'a', why: 'what is free is kept for tasks ahead of it' },
  ]);
});

t.test('a task that has no place is told why, node by node', async t => {
  const nodes = [
    aNode('pi-3', { attributes: { zone: 'a' } }),
    aNode('pi-7', { attributes: { zone: 'b' } }),
    aNode('pi-9', { attributes: { zone: 'a' }, unavailable: 'is unreachable' }),
  ];
  const ledger = ledgerOf({ 'pi-3': amounts(4, 388), 'pi-7': amounts(4, 1024), 'pi-9': amounts(4, 1024) });
  const constraints: Constraint[] = [{ attribute: 'zone', operator: 'in', values: ['a'] }];
  const plan = planRound(aRound(nodes, [aTask('t', { needs: amounts(1, 512), constraints })], { ledger }), scheduler);
  t.match(plan.waiting, [
    {
      why: 'fits on no node',
      expected: null,
      reasons: [
        { node: 'pi-3', why: 'needs 512 MB mem, has 388 MB mem in all' },
        { node: 'pi-7', why: 'label zone=a wanted, has zone=b' },
        { node: 'pi-9', why: 'is unreachable' },
      ],
    },
  ]);
});

t.test('a fleet without a node, or with none that is available, is called so', async t => {
  const off = [aNode('a', { unavailable: 'is unreachable' })];
  for (const nodes of [[], off]) {
    const plan = planRound(aRound(nodes, [aTask('t')], { ledger: ledgerOf({ a: amounts(4, 64) }) }), scheduler);
    t.match(plan.waiting, [{ why: 'no node is available', expected: null }]);
    t.equal(plan.replanAt, null);
  }
});

t.test('nobody waits for a service to end', async t => {
  const busy = running(ledgerOf({ a: amounts(1, 64) }), { r: { node: 'a', type: 'service' } });
  const plan = planRound(aRound([aNode('a')], [aTask('t')], busy), scheduler);
  t.match(plan.waiting, [{ why: 'no node has room, and nothing that runs there is expected to end', expected: null }]);
});

t.test('a task that needs nothing goes only where there is an offer', async t => {
  const busy = running(ledgerOf({ full: amounts(1, 64), free: amounts(1, 64) }), { r: { node: 'full' } });
  const task = aTask('t', { needs: { scalars: {}, sets: {} } });
  t.same(nodesOf(planRound(aRound([aNode('full'), aNode('free')], [task], busy), scheduler)), { t: 'free' });
});

t.test('devices are given to one task at a time', async t => {
  const ledger = ledgerOf({ a: { ...amounts(4, 512), sets: { gpio: ['17'] } } });
  const needs = { scalars: { cpus: 1000 }, sets: { gpio: ['17'] } };
  const pending = [
    aTask('first', { needs, expectedMs: 5 * secondMs }),
    aTask('then', { needs, order: 1, expectedMs: secondMs }),
  ];
  const plan = planRound(aRound([aNode('a')], pending, { ledger }), scheduler);
  t.same(nodesOf(plan), { first: 'a' });
  t.match(plan.waiting, [{ task: 'then', expected: { startAt: noon + 5 * secondMs } }]);
  t.match(plan.waiting[0]?.reasons, [{ why: 'needs gpio 17, not free' }]);
});

t.test(
  'places and reasons are kept for a bounded number of tasks, and those behind still use what is free',
  async t => {
    const bounded = makeScheduler({ ...defaultSchedulerSettings, maxReservations: 2, maxExplained: 1, maxReasons: 1 });
    const busy = running(ledgerOf({ a: amounts(2, 512), b: amounts(1, 512) }), {
      r: { node: 'a', expectedMs: minuteMs },
      s: { node: 'b', expectedMs: minuteMs },
    });
    const wide = [1, 2, 3, 4].map(n => aTask(`wide-${n}`, { order: n, needs: amounts(2, 64), expectedMs: minuteMs }));
    const pending = [...wide, aTask('small', { order: 9, expectedMs: secondMs })];
    const plan = planRound(aRound([aNode('a'), aNode('b')], pending, busy), bounded);
    t.same(nodesOf(plan), { small: 'a' });
    t.same(
      plan.waiting.map(({ expected }) => expected !== null),
      [true, true, false, false],
    );
    t.equal(plan.waiting[3]?.why, 'waits behind 2 tasks that keep a place');
    t.same(
      plan.waiting.map(({ reasons }) => reasons.length),
      [1, 0, 0, 0],
    );
  },
);

t.test('a scheduler that answers what was not offered is refused, and the rest of its answer stands', async t => {
  const launch = { offer: '1.a', task: 'x', resources: amounts(3), ports: [], expectedEndAt: null };
  const greedy: Scheduler = {
    name: 'greedy',
    place: offers => {
      t.same(
        [...offers].map(({ id }) => id),
        ['1.a'],
      );
      return {
        launches: [launch, launch, { ...launch, task: 'y' }, { ...launch, task: 'z', offer: '0.a' }],
        waiting: [],
        preemptions: [],
      };
    },
  };
  const plan = planRound(aRound([aNode('a')], [aTask('x')], { ledger: ledgerOf({ a: amounts(4) }) }), greedy);
  t.same(nodesOf(plan), { x: 'a' });
  t.same(plan.refused, [
    { task: 'x', why: 'task x is on node a already' },
    { task: 'y', why: 'task y on node a: needs 3 cpus, has 1 cpus free' },
    { task: 'z', why: 'no offer 0.a was made' },
  ]);
});

t.test('the next look is never sooner than a second', async t => {
  const busy = running(ledgerOf({ a: amounts(1, 64) }), { r: { node: 'a', expectedMs: 2 } });
  t.equal(planRound(aRound([aNode('a')], [aTask('t')], busy), scheduler).replanAt, noon + secondMs);
});

t.test('when nothing is pending nobody is asked', async t => {
  const ledger = ledgerOf({ a: amounts(4) });
  const busy: Scheduler = {
    name: 'busy',
    place() {
      throw new Error('asked');
    },
  };
  t.equal(planRound(aRound([aNode('a')], [], { ledger }), busy).ledger, ledger);
});

t.test('a port that tasks ask for by number is held by one task of a node at a time', async t => {
  const ranges = { 'node-ports': [{ begin: 1024, end: 65_535 }] };
  const ledger = ledgerOf({ a: { ...amounts(4, 512), ranges }, b: { ...amounts(4, 512), ranges } });
  const tasks = ['t0', 't1', 't2'].map(id => aTask(id, { type: 'service', strategy: 'spread', nodePorts: [8080] }));
  const plan = planRound(
    aRound([aNode('a'), aNode('b')], [...tasks, aTask('t3', { nodePorts: [8081] })], { ledger }),
    scheduler,
  );
  t.same(plan.launches.map(({ task }) => task).sort(), ['t0', 't1', 't3']);
  t.match(plan.launches[0]?.resources.ranges, { 'node-ports': [{ begin: 8080, end: 8080 }] });
  const [a, b] = ['a', 'b'].map(node => ({ node, why: /needs port 8080, not free/ }));
  t.match(plan.waiting, [{ task: 't2', why: /^no node has port 8080 free/, reasons: [a, b] }]);
  t.same(checkLedger(plan.ledger), []);
});

const anyNode = fc.record({ cpus: fc.nat(4), mem: fc.nat(512), kind: fc.nat(2), zone: fc.nat(1), off: fc.nat(5) });
const anyTask = fc.record({
  cpus: fc.nat(4),
  mem: fc.nat(512),
  portCount: fc.nat(2),
  nodePorts: fc.subarray([5432, 8080]),
  strategy: fc.constantFrom('completionTime' as const, 'spread' as const, 'binpack' as const),
  type: fc.constantFrom('batch' as const, 'service' as const),
  expectedMs: fc.integer({ min: 1, max: 100_000 }),
  zone: fc.nat(4),
});
const anyRound = fc
  .tuple(fc.array(anyNode, { maxLength: 5 }), fc.array(anyTask, { maxLength: 6 }), fc.array(anyTask, { maxLength: 15 }))
  .map(([nodes, held, pending]) => roundOf(nodes, held, pending));

type Of<A> = A extends fc.Arbitrary<infer T> ? T : never;

/** Tasks are pending in the order of their rank; what is held was placed with the lowest ports that were free. */
function roundOf(nodes: Of<typeof anyNode>[], held: Of<typeof anyTask>[], pending: Of<typeof anyTask>[]): RoundInput {
  const ports = [{ begin: 31000, end: 31003 }];
  const ledger = ledgerOf(
    Object.fromEntries(
      nodes.map(({ cpus, mem }, i) => [
        `n${i}`,
        { ...amounts(cpus, mem), ranges: { ports, 'node-ports': [{ begin: 5000, end: 9000 }] } },
      ]),
    ),
  );
  const views: SchedulingNode[] = nodes.map(({ kind, zone, off }, i) => ({
    ...aNode(`n${i}`, { attributes: { zone: `${zone}` }, profile: `kind-${kind}`, speed: kind + 1 }),
    unavailable: off === 0 ? 'is unreachable' : undefined,
  }));
  const taskOf = ({ cpus, mem, zone, ...more }: Of<typeof anyTask>, id: string, priority: number) =>
    aTask(id, {
      ...more,
      priority,
      needs: amounts(cpus, mem),
      constraints: zone < 2 ? [{ attribute: 'zone', operator: 'in', values: [`${zone}`] }] : [],
    });
  const before = planRound(
    aRound(
      views,
      held.map((task, i) => taskOf(task, `h${i}`, 100 - i)),
      { ledger },
    ),
    scheduler,
  );
  const holding = held.map(
    (task, i) => [`h${i}`, { ...taskOf(task, `h${i}`, 0), startedAt: noon - i * secondMs }] as const,
  );
  return aRound(
    views,
    pending.map((task, i) => taskOf(task, `t${i}`, 100 - i)),
    { ledger: before.ledger, running: new Map(holding), round: '2' },
  );
}

t.test('whatever the fleet and the tasks, a plan holds', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyRound, input => {
        const plan = planRound(input, scheduler);
        const faults = [...checkLedger(plan.ledger), ...plan.refused.map(({ why }) => why)];
        if (faults.length > 0) throw new Error(faults.join('; '));
        const answered = [...plan.launches, ...plan.waiting].map(({ task }) => task).sort();
        if (
          answered.join() !==
          input.pending
            .map(({ id }) => id)
            .sort()
            .join()
        )
          throw new Error('a task was not answered');
        const byId = new Map(input.pending.map(task => [task.id, task]));
        const byNode = new Map(input.roster.nodes.map(node => [node.id, node]));
        for (const { task, node, ports } of plan.launches) {
          const { constraints, portCount } = byId.get(task) ?? aTask('none');
          const { attributes, unavailable } = byNode.get(node) ?? aNode('none');
          if (unavailable !== undefined || ports.length !== portCount) throw new Error(`${task} is not as asked`);
          if (constraints.some(({ values }) => !values.includes(attributes.zone ?? ''))) throw new Error('wrong zone');
        }
        if (plan.waiting.some(({ expected }) => expected !== null && expected.startAt <= input.now)) {
          throw new Error('a task waits that could run');
        }
      }),
      { seed: 5, numRuns: 300 },
    ),
  );
});

t.test('equal input gives an equal plan', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyRound, input => {
        const first = planRound(input, scheduler);
        const { roster, ...rest } = input;
        const same = { ...structuredClone(rest), roster: makeRoster(structuredClone(roster.nodes)) };
        return JSON.stringify(planRound(same, scheduler)) === JSON.stringify(first);
      }),
      { seed: 6, numRuns: 100 },
    ),
  );
});

t.test('what ranks lower never changes the place or the time of what ranks higher', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyRound, fc.nat(15), (input, count) => {
        const ahead = input.pending.slice(0, count);
        const outcome = (plan: Plan) =>
          ahead.map(({ id }) => [
            plan.launches.find(({ task }) => task === id),
            plan.waiting.find(({ task }) => task === id)?.expected,
          ]);
        const alone = outcome(planRound({ ...input, pending: ahead }, scheduler));
        return JSON.stringify(outcome(planRound(input, scheduler))) === JSON.stringify(alone);
      }),
      { seed: 7, numRuns: 300 },
    ),
  );
});

t.test('tasks keep apart, together, and few on a node, and say so', async t => {
  const nodes = ['a', 'b', 'c'].map((id, i) => aNode(id, { attributes: { zone: i < 2 ? 'x' : 'y' } }));
  const ledger = ledgerOf({ a: amounts(8, 512), b: amounts(8, 512), c: amounts(8, 512) });
  const few = [1, 2, 3, 4].map(n => service(`few-${n}`, { order: n, maxPerNode: 1 }));
  const plan = planRound(aRound(nodes, few, { ledger }), scheduler);
  t.same(new Set(Object.values(nodesOf(plan))), new Set(['a', 'b', 'c']));
  t.match(plan.waiting, [{ task: 'few-4', why: 'no node has the right neighbours' }]);
  t.match(plan.waiting[0]?.reasons[0]?.why, 'has 1 of the job, at most 1 wanted');

  const web = running(ledger, { web: { node: 'a', job: 'web', type: 'service' } });
  const apart = service('db-1', { job: 'db', class: 'default/db', apartFrom: ['default/web'] });
  t.notMatch(nodesOf(planRound(aRound(nodes, [apart], web), scheduler)), { 'db-1': 'a' });
  const near = service('cache-1', { job: 'cache', class: 'default/cache', togetherWith: ['default/web'] });
  t.same(nodesOf(planRound(aRound(nodes, [near], web), scheduler)), { 'cache-1': 'a' });
  const shy = running(ledger, { db: { node: 'b', job: 'db', type: 'service', apartFrom: ['default/web'] } });
  const others = [1, 2, 3].map(n => service(`web-${n}`, { order: n, maxPerNode: 2 }));
  t.notOk(Object.values(nodesOf(planRound(aRound(nodes, others, shy), scheduler))).includes('b'), 'both ways');
});

t.test('services spread over the values of a label first, and go where they would rather be', async t => {
  const nodes = ['a', 'b', 'c', 'd'].map((id, i) => aNode(id, { attributes: { zone: i < 3 ? 'x' : 'y' } }));
  const ledger = ledgerOf(Object.fromEntries(nodes.map(({ id }) => [id, amounts(8, 512)])));
  const tasks = [1, 2, 3, 4].map(n => service(`web-${n}`, { order: n, spreadOver: 'zone' }));
  t.same(nodesOf(planRound(aRound(nodes, tasks, { ledger }), scheduler)), {
    'web-1': 'a',
    'web-2': 'd',
    'web-3': 'b',
    'web-4': 'd',
  });
  const affinities = [{ attribute: 'zone', operator: 'in' as const, values: ['y'], weight: 50 }];
  for (const strategy of ['spread', 'binpack', 'completionTime'] as const) {
    const task = aTask('t', { type: strategy === 'completionTime' ? 'batch' : 'service', strategy, affinities });
    t.same(nodesOf(planRound(aRound(nodes, [task], { ledger }), scheduler)), { t: 'd' }, strategy);
  }
});

t.test('a batch task gives up a wish that would cost it more than the wish is worth', async t => {
  const nodes = [aNode('near', { speed: 0.5, profile: 'slow', attributes: { zone: 'y' } }), aNode('far')];
  const ledger = ledgerOf({ near: amounts(1, 64), far: amounts(1, 64) });
  const place = (weight: number) => {
    const affinities = [{ attribute: 'zone', operator: 'in' as const, values: ['y'], weight }];
    return nodesOf(planRound(aRound(nodes, [aTask('t', { affinities, expectedMs: minuteMs })], { ledger }), scheduler));
  };
  t.same([place(99), place(100)], [{ t: 'far' }, { t: 'near' }]);
});

t.test('a search makes a batch shorter, and changes nothing for those of another priority', async t => {
  const nodes = ['a', 'b', 'c'].map(id => aNode(id));
  const ledger = ledgerOf({ a: amounts(1, 64), b: amounts(1, 64), c: amounts(1, 64) });
  const only = (operator: 'in' | 'notIn') => [{ attribute: 'node', operator, values: ['c'] }];
  // the longest first gives one of the two nodes 7 s, and 6 s each are possible
  const pending = [
    ...[3, 3, 2, 2, 2].map((s, order) =>
      aTask(`t${order}`, { class: `c${s}`, expectedMs: s * secondMs, order, constraints: only('notIn') }),
    ),
    aTask('urgent', { priority: 90, expectedMs: secondMs, constraints: only('in') }),
  ];
  const searching = () => {
    let looks = 0;
    return { dice: seededRandom(1), spent: () => looks++ / 50, earlier: () => undefined };
  };
  const endOf = (plan: Plan) =>
    Math.max(
      ...plan.launches.map(({ expectedEndAt }) => expectedEndAt ?? 0),
      ...plan.waiting.map(({ expected }) => expected?.endAt ?? 0),
    );
  const input = aRound(nodes, pending, { ledger });
  const [plain, better] = [planRound(input, scheduler), planRound({ ...input, search: searching() }, scheduler)];
  t.same([endOf(better) - noon, endOf(plain) - noon], [6 * secondMs, 7 * secondMs]);
  t.same([checkLedger(better.ledger), better.refused], [[], []]);
  t.equal(nodesOf(better).urgent, nodesOf(plain).urgent);
  t.same(planRound({ ...input, search: searching() }, scheduler), better, 'equal dice give an equal plan');
});

t.test('a search exchanges tasks of several roles where none of them ends later', async t => {
  const nodes = ['a', 'b'].map(id => aNode(id));
  const ledger = ledgerOf({ a: amounts(1, 64), b: amounts(1, 64) });
  const pending = [
    ...[3, 3, 2].map((s, order) =>
      aTask(`ads-${order}`, { role: 'ads', class: `c${s}`, expectedMs: s * secondMs, order }),
    ),
    // older, so that it has climbed by a priority
    ...[2, 2].map((s, order) =>
      aTask(`bio-${order}`, {
        role: 'bio',
        class: `c${s}`,
        expectedMs: s * secondMs,
        order,
        submittedAt: noon - minuteMs,
      }),
    ),
  ];
  const endsOf = (plan: Plan, role: string) =>
    [
      ...plan.launches.map(({ task, expectedEndAt }) => ({ task, endAt: expectedEndAt ?? 0 })),
      ...plan.waiting.map(({ task, expected }) => ({ task, endAt: expected?.endAt ?? 0 })),
    ]
      .filter(({ task }) => task.startsWith(role))
      .reduce((last, { endAt }) => Math.max(last, endAt - noon), 0);
  let looks = 0;
  const search = { dice: seededRandom(1), spent: () => looks++ / 50, earlier: () => undefined };
  const input = aRound(nodes, pending, { ledger });
  const [plain, better] = [planRound(input, scheduler), planRound({ ...input, search }, scheduler)];
  t.same([endsOf(plain, 'ads'), endsOf(better, 'ads')], [7 * secondMs, 6 * secondMs]);
  t.ok(endsOf(better, 'bio') <= endsOf(plain, 'bio'));
});

t.test('no search makes a plan worse, whatever the fleet', async t => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(anyRound, input => {
        let looks = 0;
        const batch = input.pending.map(task => ({ ...task, priority: 50, type: 'batch' as const }));
        const round = { ...input, pending: batch.map(task => ({ ...task, strategy: 'completionTime' as const })) };
        const search = { dice: seededRandom(2), spent: () => looks++ / 4, earlier: () => 'n1' };
        const [plain, better] = [planRound(round, scheduler), planRound({ ...round, search }, scheduler)];
        const answered = [...better.launches, ...better.waiting];
        if (answered.length !== batch.length) throw new Error('a task was not answered');
        const faults = [...checkLedger(better.ledger), ...better.refused.map(({ why }) => why)];
        if (faults.length > 0) throw new Error(faults.join('; '));
        const homeless = (plan: Plan) => plan.waiting.filter(({ expected }) => expected === null).length;
        const ends = (plan: Plan) => [
          ...plan.launches.map(({ expectedEndAt }) => expectedEndAt ?? 0),
          ...plan.waiting.map(({ expected }) => expected?.endAt ?? 0),
        ];
        if (homeless(better) > homeless(plain)) throw new Error('a task lost its place');
        if (Math.max(0, ...ends(better)) > Math.max(0, ...ends(plain))) throw new Error('it ends later');
      }),
      { seed: 9, numRuns: 150 },
    ),
  );
});

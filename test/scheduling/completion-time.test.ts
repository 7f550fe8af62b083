import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { sharesOf } from '../../src/scheduling/allocator.ts';
import { applyEvents } from '../../src/scheduling/ledger.ts';
import { makeOffers, type NodeState, type SchedulingContext } from '../../src/scheduling/offers.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import { type Plan, planRound, type RoundInput } from '../../src/scheduling/plan.ts';
import { endByProgress } from '../../src/scheduling/progress.ts';
import { makeRoster } from '../../src/scheduling/roster.ts';
import { defaultSchedulerSettings, makeScheduler } from '../../src/scheduling/scheduler.ts';
import { amounts, aNode, aRound, aTask, ledgerOf, noon } from './fixtures.ts';

/** MCT in index order: the published makespans of the instances of Braun et al., JPDC 61 (2001). */
const published: Readonly<Record<string, number>> = {
  'u_c_hihi.0': 11422624.494,
  'u_c_hilo.0': 185887.404,
  'u_c_lohi.0': 378303.625,
  'u_c_lolo.0': 6360.055,
  'u_i_hihi.0': 4413582.982,
  'u_i_hilo.0': 94855.914,
  'u_i_lohi.0': 143816.094,
  'u_i_lolo.0': 3137.35,
  'u_s_hihi.0': 6693923.896,
  'u_s_hilo.0': 126587.591,
  'u_s_lohi.0': 186151.286,
  'u_s_lolo.0': 4436.118,
};
/** The same with the longest minimum first, as the scheduler orders by default. */
const longestFirst: Readonly<Record<string, number>> = {
  'u_c_hihi.0': 9524392,
  'u_c_hilo.0': 174092,
  'u_c_lohi.0': 308400,
  'u_c_lolo.0': 5870,
  'u_i_hihi.0': 3432930,
  'u_i_hilo.0': 85919,
  'u_i_lohi.0': 120077,
  'u_i_lolo.0': 3060,
  'u_s_hihi.0': 5191736,
  'u_s_hilo.0': 114693,
  'u_s_lohi.0': 152658,
  'u_s_lolo.0': 4123,
};
const folder = join('..', 'shared', 'corpus', 'hcsp');
const skip = existsSync(folder) ? false : 'the scheduling instances (../shared/corpus/hcsp) are not here';

t.test('a run is expected to end by its pace and by what its like took, each as far as it has earned', async t => {
  const run = { startedAt: 1_000, expectedEndAt: 11_000, percent: 50, at: 3_000 };
  t.equal(endByProgress(run), 1_000 + 0.5 * 4_000 + 0.5 * 10_000);
  t.equal(endByProgress({ ...run, expectedEndAt: null }), 5_000, 'the pace alone, where nothing was learned');
  t.equal(endByProgress({ ...run, percent: 0 }), 11_000);
  t.equal(endByProgress({ ...run, percent: 0, expectedEndAt: null }), undefined);
  t.equal(endByProgress({ ...run, percent: 100 }), 3_000, 'never before it was heard');
  t.equal(endByProgress({ ...run, expectedEndAt: 2_000, at: 9_000, percent: 10 }), 1_000 + 0.1 * 80_000 + 0.9 * 1_000);
});

/** Two nodes of two cores: `has` holds 10 MB, and `not` would fetch them at a megabyte a second. */
function fetching(tasks: readonly PendingTask[], more: Partial<RoundInput> = {}) {
  const nodes = [aNode('not', { fetchBytesPerSecond: 1_000_000 }), aNode('has', { holds: { app: 10_000_000 } })];
  const ledger = ledgerOf({ not: amounts(2, 512), has: amounts(2, 512) });
  const roster = makeRoster(nodes, () => 10_000_000);
  return planRound({ ...aRound(nodes, tasks, { ledger }), roster, ...more }, makeScheduler());
}

t.test(
  'a node that would have to fetch what a task needs is taken when the task ends there sooner all the same',
  async t => {
    const tasks = (count: number, expectedMs: number) =>
      Array.from({ length: count }, (_, order) => aTask(`t${order}`, { artifacts: ['app'], expectedMs, order }));
    const nodesOf = ({ launches }: Plan) => launches.map(({ task, node }) => `${task} ${node}`).sort();
    t.same(
      nodesOf(fetching(tasks(3, 5_000))),
      ['t0 has', 't1 has'],
      'the third waits for 5 s rather than fetch for 10 s',
    );
    const three = fetching(tasks(3, 15_000));
    t.same(nodesOf(three), ['t0 has', 't1 has', 't2 not']);
    t.match(
      three.launches.find(({ node }) => node === 'not'),
      { expectedEndAt: noon + 25_000, fetchMs: 10_000 },
    );
    t.same(nodesOf(fetching([aTask('t', { expectedMs: 5_000 })])), ['t not'], 'who needs nothing takes the first');
  },
);

t.test('what one task has fetched the next ones find there', async t => {
  const tasks = Array.from({ length: 8 }, (_, order) =>
    aTask(`t${order}`, { artifacts: ['app'], expectedMs: 15_000, order, constraints: [on('not')] }),
  );
  const { launches, waiting } = fetching(tasks);
  const ends = [
    ...launches.map(({ expectedEndAt }) => expectedEndAt),
    ...waiting.map(({ expected }) => expected?.endAt),
  ];
  t.same(
    ends.map(end => (end ?? 0) - noon),
    [25_000, 25_000, 40_000, 40_000, 55_000, 55_000, 70_000, 70_000],
    'two wait for one download, and the others for them',
  );
  const [task] = tasks;
  const ledger = applyEvents(ledgerOf({ not: amounts(1, 64), has: amounts(1, 64) }), [
    { type: 'TaskPlaced', task: 'r', node: 'not', resources: amounts(1, 64) },
  ]).ledger;
  const running = new Map([['r', { ...aTask('r', { artifacts: ['app'], expectedMs: 15_000 }), startedAt: null }]]);
  const behind = fetching(task === undefined ? [] : [task], { ledger, running });
  t.equal(
    behind.waiting[0]?.expected?.startAt,
    noon + 25_000,
    'one that has not begun yet fetches first, as far as is known',
  );
  t.equal(behind.waiting[0]?.expected?.endAt, noon + 40_000, 'and who comes after it finds what it needs');
});

const on = (node: string) => ({ attribute: 'node', operator: 'in' as const, values: [node] });

for (const [name, makespan] of Object.entries(published)) {
  t.test(`the scheduler in arrival order reaches the published makespan of ${name}`, { skip }, async t => {
    t.ok(Math.abs(makespanOf(name, 'arrival') - makespan) <= 0.1, `${makespanOf(name, 'arrival')} is ${makespan}`);
    t.ok(
      Math.abs(makespanOf(name, 'longestFirst') - (longestFirst[name] ?? 0)) <= 1,
      'and better with the longest first',
    );
  });
}

/** 16 machines of one core and 512 tasks of one core, placed by one round of the scheduler itself. */
function makespanOf(name: string, order: 'arrival' | 'longestFirst'): number {
  const [head = '', ...values] = readFileSync(join(folder, name), 'utf8').trim().split('\n');
  const [tasks = 0, machines = 0] = head.split(' ').map(Number);
  const etc = values.map(Number);
  const names = Array.from({ length: machines }, (_, machine) => `machine-${machine}`);
  const core = amounts(1);
  const nodes: NodeState[] = names.map(id => ({
    ...aNode(id, { profile: id }),
    total: core,
    allocated: amounts(0),
    free: core,
    holdings: [],
  }));
  const pending = Array.from({ length: tasks }, (_, index) =>
    aTask(`task-${index}`, { class: `class-${index}`, needs: core, order: index, submittedAt: 0 }),
  );
  const ledger = ledgerOf(Object.fromEntries(names.map(id => [id, core])));
  const context: SchedulingContext = {
    now: 0,
    shares: sharesOf(ledger, new Map()),
    roster: makeRoster(nodes),
    stateOf: index => nodes[index],
    roomOf: index => nodes[index],
    instancesOf: () => new Map(),
    promised: new Map(),
    expectedMs: (task: PendingTask, node) => etc[task.order * machines + names.indexOf(node.id)] ?? Number.NaN,
  };
  const offers = makeOffers(ledger, nodes, 'r');
  const decision = makeScheduler({ ...defaultSchedulerSettings, order }).place(offers, pending, context);
  return Math.max(
    ...decision.launches.map(launch => launch.expectedEndAt ?? Number.NaN),
    ...decision.waiting.map(({ expected }) => expected?.endAt ?? Number.NaN),
  );
}

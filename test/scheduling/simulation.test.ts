import fc from 'fast-check';
import t from 'tap';
import { minuteMs, secondMs } from '../../src/base/clock.ts';
import { type Random, seededRandom } from '../../src/base/random.ts';
import { noEstimates } from '../../src/scheduling/estimates.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import type { SchedulingNode } from '../../src/scheduling/roster.ts';
import { makeScheduler } from '../../src/scheduling/scheduler.ts';
import { amounts, aNode, aTask, ledgerOf, noon } from './fixtures.ts';
import { firstFit, randomFit } from './rivals.ts';
import { type Outcome, type Simulation, simulate } from './simulation.ts';

const scheduler = makeScheduler();
const ports = [{ begin: 31000, end: 31019 }];

/** Boards as people mix them: cores, memory in MB, speed. */
const boards = {
  'zero-1': ['pi-zero-2w', 4, 400, 0.2],
  'zero-2': ['pi-zero-2w', 4, 400, 0.2],
  'pi3-1': ['pi-3', 4, 900, 0.35],
  'pi4-1': ['pi-4', 4, 3800, 1],
  'pi4-2': ['pi-4', 4, 3800, 1],
  'n100-1': ['n100', 4, 7800, 3],
} as const;
const nodes = Object.entries(boards).map(([id, [profile, , , speed]]) =>
  aNode(id, { profile, speed, attributes: { profile } }),
);
const ledger = ledgerOf(
  Object.fromEntries(Object.entries(boards).map(([id, [, cpus, mem]]) => [id, amounts(cpus, mem, ports)])),
);
const speedOf = new Map(nodes.map(({ id, speed }) => [id, speed]));

function makeBatch(dice: Random, count: number): PendingTask[] {
  return Array.from({ length: count }, (_, order) =>
    aTask(`task-${order}`, {
      order,
      class: `default/class-${Math.floor(dice() * 8)}`,
      priority: [10, 50, 90][Math.floor(dice() * 3)] ?? 50,
      needs: amounts([0.5, 1, 2][Math.floor(dice() * 3)] ?? 1, [32, 128, 512][Math.floor(dice() * 3)]),
      portCount: dice() < 0.2 ? 1 : 0,
      constraints: dice() < 0.1 ? [{ attribute: 'profile', operator: 'notIn', values: ['pi-zero-2w'] }] : [],
    }),
  );
}

/** A class has its length, each run is off by a sigma of 0.3, and slow boards take longer. */
function durations(dice: Random): Simulation['actualMs'] {
  const noise = new Map<string, number>();
  return (task, { id }) => {
    const normal = () => Math.sqrt(-2 * Math.log(1 - dice())) * Math.cos(2 * Math.PI * dice());
    const factor = noise.get(task.id) ?? Math.exp(0.3 * normal());
    noise.set(task.id, factor);
    return Math.ceil((workOf(task) * factor) / (speedOf.get(id) ?? 1));
  };
}

const workOf = (task: PendingTask) => 2 ** Number(task.class.slice(-1)) * secondMs;
const meanEnd = ({ runs }: Outcome, tasks: readonly PendingTask[], priority: number) => {
  const ends = tasks.filter(task => task.priority === priority).map(({ id }) => runs.get(id)?.endAt ?? Number.NaN);
  return ends.reduce((sum, end) => sum + end, 0) / ends.length;
};

t.test(
  'a batch runs to its end on a mixed fleet, what matters most first, sooner than by first fit or by chance',
  async t => {
    for (const seed of [1, 2]) {
      const tasks = makeBatch(seededRandom(seed), 200).map(task => ({ ...task, expectedMs: workOf(task) }));
      const run = (by: Simulation['scheduler']) =>
        simulate({
          nodes,
          ledger,
          tasks,
          scheduler: by,
          estimates: noEstimates,
          actualMs: durations(seededRandom(seed)),
        });
      const ours = run(scheduler);
      t.equal(ours.runs.size, tasks.length, 'every task ran');
      t.equal(ours.ledger.tasks.size, 0, 'and nothing is held after');
      const [high, middle, low] = [90, 50, 10].map(priority => meanEnd(ours, tasks, priority) - noon);
      t.ok(Number(high) < Number(middle) && Number(middle) < Number(low), `${high} < ${middle} < ${low}`);
      for (const rival of [firstFit, randomFit(seededRandom(seed))]) {
        const theirs = run(rival);
        const factor = (theirs.makespanMs / ours.makespanMs).toFixed(2);
        t.comment(`seed ${seed}: ${ours.makespanMs / secondMs} s, ${rival.name} takes ${factor} times as long`);
        t.ok(theirs.makespanMs > ours.makespanMs, `sooner than ${rival.name}`);
      }
    }
  },
);

t.test('what one batch taught makes the next one shorter, when neither speed nor durations are known', async t => {
  const unmeasured = nodes.map(node => ({ ...node, speed: 1 }));
  const tasks = makeBatch(seededRandom(11), 200);
  const run = (estimates: Simulation['estimates'], fleet: readonly SchedulingNode[] = unmeasured, batch = tasks) =>
    simulate({ nodes: fleet, ledger, tasks: batch, scheduler, estimates, actualMs: durations(seededRandom(12)) });
  const first = run(noEstimates);
  const second = run(first.estimates);
  const told = run(
    noEstimates,
    nodes,
    tasks.map(task => ({ ...task, expectedMs: workOf(task) })),
  );
  const ratio = (outcome: Outcome) => (outcome.makespanMs / told.makespanMs).toFixed(2);
  t.comment(`against a scheduler that is told: ${ratio(first)} at first, ${ratio(second)} after one batch`);
  t.ok(second.makespanMs < first.makespanMs);
});

t.test('of equal tasks on equal boards none starts before one of a higher priority', async t => {
  const fleet = ['a', 'b'].map(id => aNode(id));
  const tasks = Array.from({ length: 30 }, (_, i) => aTask(`t${i}`, { order: i, priority: (i * 7) % 10 }));
  const { runs } = simulate({
    nodes: fleet,
    ledger: ledgerOf({ a: amounts(2, 512), b: amounts(2, 512) }),
    tasks,
    scheduler,
    estimates: noEstimates,
    actualMs: () => 10 * secondMs,
  });
  const starts = [...tasks]
    .sort((a, b) => b.priority - a.priority)
    .map(({ id }) => runs.get(id)?.startAt ?? Number.NaN);
  t.same(
    starts,
    [...starts].sort((a, b) => a - b),
  );
});

t.test('neither a large task nor one of low priority is starved by a stream that never ends', async t => {
  const stream = Array.from({ length: 600 }, (_, i) =>
    aTask(`s${i}`, { priority: 60, order: i, submittedAt: noon + i * 3 * secondMs, expectedMs: 10 * secondMs }),
  );
  const large = aTask('large', {
    priority: 60,
    needs: amounts(4, 64),
    submittedAt: noon + minuteMs,
    expectedMs: minuteMs,
  });
  const low = aTask('low', { priority: 50, submittedAt: noon + minuteMs, expectedMs: 10 * secondMs });
  // 4 cores for 3.3 cores' worth of stream, which is 30 minutes long
  const { runs } = simulate({
    nodes: [aNode('a')],
    ledger: ledgerOf({ a: amounts(4, 512) }),
    tasks: [...stream, large, low],
    scheduler,
    estimates: noEstimates,
    actualMs: task => task.expectedMs ?? 0,
  });
  for (const id of ['large', 'low']) {
    const waited = (runs.get(id)?.startAt ?? Number.POSITIVE_INFINITY) - (noon + minuteMs);
    t.ok(waited < 15 * minuteMs, `${id} waited ${waited / secondMs} s`);
  }
});

t.test('any batch comes to its end, however wrong its estimates are', async t => {
  const batch = fc.array(
    fc.record({
      cpus: fc.integer({ min: 1, max: 4 }),
      priority: fc.nat(100),
      wait: fc.nat(60_000),
      expectedMs: fc.integer({ min: 1, max: 60_000 }),
      actualMs: fc.integer({ min: 1, max: 600_000 }),
      strategy: fc.constantFrom('completionTime' as const, 'spread' as const, 'binpack' as const),
    }),
    { maxLength: 25 },
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(batch, batch => {
        const actual = new Map(batch.map(({ actualMs }, i) => [`t${i}`, actualMs]));
        const tasks = batch.map(({ cpus, wait, actualMs: _, ...more }, order) =>
          aTask(`t${order}`, {
            ...more,
            order,
            class: `c${order % 3}`,
            needs: amounts(cpus),
            submittedAt: noon + wait,
          }),
        );
        const { ledger: after, runs } = simulate({
          nodes: [aNode('slow', { profile: 'zero', speed: 0.1 }), aNode('fast')],
          ledger: ledgerOf({ slow: amounts(4), fast: amounts(4) }),
          tasks,
          scheduler,
          estimates: noEstimates,
          actualMs: task => actual.get(task.id) ?? 1,
        });
        return runs.size === tasks.length && after.tasks.size === 0;
      }),
      { seed: 8, numRuns: 60 },
    ),
  );
});

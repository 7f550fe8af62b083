import { performance } from 'node:perf_hooks';
import { seededRandom } from '../../../src/base/random.ts';
import { noResources, type Resources } from '../../../src/model/resources.ts';
import { sharesOf } from '../../../src/scheduling/allocator.ts';
import { applyEvents, emptyLedger } from '../../../src/scheduling/ledger.ts';
import { makeOffers, type NodeState, type SchedulingContext } from '../../../src/scheduling/offers.ts';
import type { PendingTask } from '../../../src/scheduling/pending.ts';
import { makeRoster } from '../../../src/scheduling/roster.ts';
import { defaultSchedulerSettings, makeScheduler } from '../../../src/scheduling/scheduler.ts';
import type { Instance } from './instance.ts';

const core: Resources = { ...noResources, scalars: { cpus: 1000 } };

export interface Plan {
  readonly makespan: number;
  readonly cpuMs: number;
}

/** CPU time of this thread, which other programs on the machine do not change. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Machines of one core and tasks of one core each, placed by one round of the product's scheduler; `budgetMs` 0 is without search. */
export function planInstance(
  { tasks, machines, etc }: Instance,
  how: { readonly order: 'arrival' | 'longestFirst'; readonly budgetMs: number },
): Plan {
  const names = Array.from({ length: machines }, (_, machine) => `machine-${machine}`);
  const nodes: NodeState[] = names.map(id => ({
    id,
    hostname: id,
    attributes: {},
    profile: id,
    speed: 1,
    total: core,
    allocated: noResources,
    free: core,
    holdings: [],
  }));
  const pending = Array.from(
    { length: tasks },
    (_, order): PendingTask => ({
      id: `task-${order}`,
      job: 'job',
      namespace: 'default',
      type: 'batch',
      class: `class-${order}`,
      priority: 50,
      needs: core,
      portCount: 0,
      constraints: [],
      strategy: 'completionTime',
      submittedAt: 0,
      order,
    }),
  );
  const { ledger } = applyEvents(
    emptyLedger,
    names.map(node => ({ type: 'NodeRegistered', node, total: core })),
  );
  const machineOf = new Map(names.map((name, machine) => [name, machine]));
  const roster = makeRoster(nodes);
  const begin = cpuMs();
  let searching: number | undefined;
  const context: SchedulingContext = {
    now: 0,
    roster,
    stateOf: index => nodes[index],
    roomOf: index => nodes[index],
    instancesOf: () => new Map(),
    promised: new Map(),
    shares: sharesOf(ledger, new Map()),
    expectedMs: (task, node) => etc[task.order * machines + (machineOf.get(node.id) ?? 0)] ?? Number.NaN,
    ...(how.budgetMs > 0 && {
      search: {
        dice: seededRandom(1),
        spent() {
          searching ??= cpuMs();
          return (cpuMs() - searching) / how.budgetMs;
        },
        earlier: () => undefined,
      },
    }),
  };
  const settings = { ...defaultSchedulerSettings, order: how.order, maxReservations: Math.max(1000, tasks) };
  const { launches, waiting } = makeScheduler(settings).place(makeOffers(ledger, nodes, 'r'), pending, context);
  const ends = [...launches.map(launch => launch.expectedEndAt), ...waiting.map(({ expected }) => expected?.endAt)];
  return { makespan: ends.reduce<number>((most, end) => Math.max(most, end ?? Number.NaN), 0), cpuMs: cpuMs() - begin };
}

/** Milliseconds of the wall clock, for what a person waits. */
export const now = () => performance.now();

import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import type { StrainLevel } from '../lifecycle/strain.ts';
import type { Job } from '../model/document.ts';
import type { Resources } from '../model/resources.ts';
import { isTerminal } from '../model/task.ts';
import { heldBy, withSlots } from '../model/task-slots.ts';
import type { RolePolicies } from '../scheduling/fairness.ts';
import {
  type Applied,
  accountOf,
  applyEvents,
  emptyLedger,
  freeOf,
  type Ledger,
  type LedgerEvent,
  nodeOf,
} from '../scheduling/ledger.ts';
import type { Preemption, Scheduler, Waiting } from '../scheduling/offers.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import { type Plan, planRound, type RoundInput } from '../scheduling/plan.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { masterTimes } from './config.ts';
import type { Events } from './events.ts';
import { attributesOf, type FleetNode } from './fleet.ts';
import type { Jobs } from './jobs.ts';
import { makeLearning } from './learning.ts';
import { makeMoves } from './moves.ts';
import { makeNodeRoster } from './node-roster.ts';
import { makePlacing, type SecretsOf } from './placing.ts';
import { makeSearchBudget } from './search-budget.ts';
import { makeSharing, type OfferTaker } from './sharing.ts';
import { makeStartOrder } from './start-order.ts';
import { makeTaskPool } from './task-pool.ts';

/** Gives waiting tasks a place: a round is planned when something happened that may matter, and written before it is told. */
export interface Rounds {
  /** Reckons from the store who has what. */
  load(): Promise<void>;
  wake(): void;
  /** A task may be ready from now on, for which others have waited. */
  onReady(): void;
  onNode(node: FleetNode): void;
  /** It does not come back, and has no tasks any more. */
  onGone(node: string): void;
  /** A node has reported on a task. */
  onRecorded(task: TaskRecord): void;
  onEnded(task: TaskRecord): void;
  run(signal: AbortSignal): Promise<void>;
  /** Why a task had no place in the last round. */
  whyWaiting(task: string): Waiting | undefined;
  freeOn(node: string): Resources | undefined;
  /** Does a task that has a place belong to its node, as those of system jobs do? A drain leaves it there. */
  isOfNode(task: string): boolean;
  /** What the next round would do if these tasks, of these jobs, waited, too; places nothing. */
  preview(tasks: readonly PendingTask[], wanted: readonly Job[]): Promise<Plan>;
  /** Node by node why a task that waits is not there. */
  explain(task: string): Promise<Waiting | undefined>;
  ledger(): Ledger;
  /** For those who answer offers; offers that it ended are told to all takers. */
  change(events: readonly LedgerEvent[]): Applied;
  /** Did tasks find no place in the last round? */
  readonly hasWaiting: boolean;
  /** From now on each round asks `taker` who wants offers. */
  offerTo(taker: OfferTaker): void;
}

export function makeRounds(parts: {
  readonly store: Store;
  readonly jobs: Jobs;
  readonly fleet: { list(): FleetNode[]; get(node: string): FleetNode | undefined };
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Pick<Events, 'record'>;
  readonly newId: () => string;
  readonly dice: Random;
  readonly policies: () => RolePolicies;
  /** How many times as long everything takes on a node, by heat or load. */
  readonly strainOf: (node: string) => StrainLevel;
  /** Of what the master has for nodes to fetch, by `contentKeyOf`. */
  readonly artifactBytes: (artifact: string) => number | undefined;
  readonly secretsOf?: SecretsOf;
  /** The assignments of these nodes have changed. */
  readonly onPlaced: (nodes: readonly string[], tasks: readonly string[]) => void;
  /** A node that was to be drained and then to go has no task left that could leave it. */
  readonly onEmptied: (node: string) => void;
}): Rounds {
  const { store, jobs, fleet, scheduler, clock, log, events, newId, dice, policies, strainOf, artifactBytes } = parts;
  const { onPlaced, onEmptied } = parts;
  let ledger: Ledger = emptyLedger;
  let waiting: ReadonlyMap<string, Waiting> = new Map();
  const startOrder = makeStartOrder({ store, jobs });
  let hasHeld = false;
  const pool = makeTaskPool({ store, jobs });
  const learning = makeLearning({ store, fleet, clock });
  const rosterAt = makeNodeRoster({ fleet, strainOf, artifactBytes });
  const searchOf = makeSearchBudget(clock);
  const sharing = makeSharing({ ledger: () => ledger, change, policies, dice, newId });
  const labelsOf = (id: string) => {
    const node = fleet.get(id);
    return node === undefined ? {} : attributesOf(node);
  };
  const place = makePlacing({
    ...{ store, jobs, change, labelsOf, clock, log, newId, secretsOf: parts.secretsOf },
    onPlaced(nodes, placed) {
      learning.onPlaced(placed);
      onPlaced(
        nodes,
        placed.map(({ task }) => task),
      );
    },
  });
  /** By task id, the nodes on which others were ended for it; after a restart of the master its rank has to do. */
  const promised = new Map<string, string>();
  const moves = makeMoves({ store, jobs, fleet, pool, clock, log, events, ledger: () => ledger, wake, onEmptied });
  let wakeUp: (() => void) | undefined;
  let isDue = false;
  /** What the last plan took: plans have at most half of the time, so that nodes and operators are answered while thousands of tasks wait. */
  let planMs = 0;

  function change(events: readonly LedgerEvent[]): Applied {
    const applied = applyEvents(ledger, events);
    ledger = applied.ledger;
    for (const { why } of applied.refused) log.warn('the ledger refused an event', { why });
    if (applied.rescinded.length > 0) sharing.rescind(applied.rescinded);
    return applied;
  }

  function wake(): void {
    isDue = true;
    wakeUp?.();
  }

  /** Until something happened, or until `at`. */
  async function untilDue(at: number | null, signal: AbortSignal): Promise<void> {
    if (isDue || signal.aborted) return;
    let cancelTimer = () => {};
    let forget = () => {};
    await new Promise<void>(resolve => {
      wakeUp = resolve;
      if (at !== null) cancelTimer = clock.after(Math.max(0, at - clock.now()), resolve);
      forget = onAbort(signal, resolve);
    });
    cancelTimer();
    forget();
    wakeUp = undefined;
  }

  function inputOf(pending: readonly PendingTask[]): RoundInput {
    const now = clock.now();
    const { running } = pool;
    const { estimates } = learning;
    const facts = { ledger, roster: rosterAt(now), pending, running, estimates, promised, policies: policies() };
    return { round: newId(), now, ...facts };
  }

  /** Forgets those that are kept, and those that cannot be any more. */
  function keepPromises({ waiting }: Plan): void {
    const expected = new Map(waiting.map(each => [each.task, each.expected?.node]));
    for (const [task, node] of promised) if (expected.get(task) !== node) promised.delete(task);
  }

  async function endFor({ task, node, victims }: Preemption): Promise<void> {
    log.info('tasks end for one of a higher priority', { task, node, victims: victims.length });
    promised.set(task, node);
    await jobs.move(victims, { reason: 'REASON_CONTAINER_PREEMPTED', message: `ended for ${task}` });
    wake();
  }

  /** The tasks that may start, and why the others have to wait. */
  async function inOrder(all: readonly PendingTask[], wanted: readonly Job[] = []) {
    const held = await startOrder.holdBack(all, wanted);
    const early: Waiting[] = [...held].map(([task, why]) => ({ task, why, reasons: [], expected: null }));
    return { open: all.filter(task => !held.has(task.id)), early };
  }

  async function round(): Promise<number | null> {
    await learning.keep();
    await pool.refresh();
    const moveAt = await moves.carryOut();
    const { open, early } = await inOrder(pool.pending());
    hasHeld = early.length > 0;
    const input = inputOf(open);
    planMs = 0;
    if (input.pending.length === 0) {
      waiting = new Map(early.map(entry => [entry.task, entry]));
      sharing.share(input.roster.nodes, []);
      return moveAt;
    }
    const granted = sharing.share(input.roster.nodes, input.pending);
    const earlier = waiting;
    const begin = clock.monotonic();
    const plan = planRound(
      { ...input, ledger, granted, search: searchOf(task => earlier.get(task)?.expected?.node) },
      scheduler,
    );
    planMs = clock.monotonic() - begin;
    for (const { task, why } of plan.refused) log.error('a placement was refused', { task, why });
    waiting = new Map([...plan.waiting, ...early].map(entry => [entry.task, entry]));
    moves.tell(task => waiting.get(task));
    await place(plan.launches);
    keepPromises(plan);
    for (const preemption of plan.preemptions) await endFor(preemption);
    // what is left of what others wanted too is for them
    const againAt = granted === undefined || granted.size === 0 ? null : clock.now() + masterTimes.shareAgainMs;
    const moments = [plan.replanAt, againAt, moveAt].filter(at => at !== null);
    return moments.length === 0 ? null : Math.min(...moments);
  }

  return {
    async load() {
      const tasks = await store.tasks.list();
      const inUse = new Set(tasks.flatMap(({ node, state }) => (isTerminal(state) ? [] : [node])));
      change(
        fleet.list().flatMap(({ id, birth, state }) => {
          // one that is gone for good counts no more
          const counts = birth !== null && (state !== 'quarantined' || inUse.has(id));
          return counts ? [{ type: 'NodeRegistered', node: id, total: withSlots(birth.total) }] : [];
        }),
      );
      change(
        tasks.flatMap(({ id: task, node, spec, state, role }) =>
          node === null || spec === null || isTerminal(state)
            ? []
            : [{ type: 'TaskRecovered', task, node, resources: heldBy(spec), role }],
        ),
      );
      await pool.load(tasks);
      await learning.load();
    },
    wake,
    onReady() {
      if (hasHeld) wake();
    },
    onNode({ id, birth }) {
      if (birth !== null) change([{ type: 'NodeRegistered', node: id, total: withSlots(birth.total) }]);
      wake();
    },
    onGone(node) {
      if (accountOf(ledger, node) !== undefined) change([{ type: 'NodeRemoved', node }]);
      wake();
    },
    onRecorded(task) {
      if (task.state === 'TASK_RUNNING') learning.onStarted(task);
    },
    onEnded(task) {
      // an end may be reported twice, in other words each time
      if (nodeOf(ledger, task.id) === undefined) return;
      change([{ type: 'TaskEnded', task: task.id }]);
      learning.onEnded(task);
      wake();
    },
    async run(signal) {
      let replanAt: number | null = null;
      wake();
      while (!signal.aborted) {
        await untilDue(replanAt, signal);
        if (!(await clock.sleep(Math.max(masterTimes.roundDelayMs, planMs), signal))) return;
        isDue = false;
        try {
          replanAt = await round();
        } catch (error) {
          log.error('a round failed', { reason: messageOf(error) });
          replanAt = clock.now() + masterTimes.roundRetryMs;
        }
      }
    },
    whyWaiting: task => waiting.get(task),
    freeOn: node => freeOf(ledger, node),
    isOfNode: task => pool.running.get(task)?.isOfNode === true,
    async preview(tasks, wanted) {
      await pool.refresh();
      const { open, early } = await inOrder([...pool.pending(), ...tasks], wanted);
      const plan = planRound(inputOf(open), scheduler);
      return { ...plan, waiting: [...plan.waiting, ...early] };
    },
    async explain(task) {
      await pool.refresh();
      const { open, early } = await inOrder(pool.pending());
      const plan = planRound({ ...inputOf(open), explain: task }, scheduler);
      return [...early, ...plan.waiting].find(each => each.task === task);
    },
    ledger: () => ledger,
    get hasWaiting() {
      return waiting.size > 0;
    },
    change,
    offerTo(taker) {
      sharing.add(taker);
      wake();
    },
  };
}

import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { type Random, seededRandom } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import type { Job } from '../model/document.ts';
import { isDrained } from '../model/drain.ts';
import type { Resources } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { isTerminal } from '../model/task.ts';
import { allocate, type Claimant } from '../scheduling/allocator.ts';
import { type Estimates, learn, maxEstimates, noEstimates, oldestOf, recall, rowsOf } from '../scheduling/estimates.ts';
import type { RolePolicies } from '../scheduling/fairness.ts';
import { unmetConstraints, unmetNeeds } from '../scheduling/feasible.ts';
import {
  type Applied,
  applyEvents,
  emptyLedger,
  freeOf,
  type Ledger,
  type LedgerEvent,
  nodeOf,
} from '../scheduling/ledger.ts';
import type { Scheduler, SchedulingNode, Search, Waiting } from '../scheduling/offers.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import { type Plan, type PlannedLaunch, planRound, type RoundInput } from '../scheduling/plan.ts';
import { defaultSearchMs } from '../scheduling/scheduler.ts';
import type { Placement } from '../store/assignments.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { maxIds } from '../store/tasks.ts';
import { masterTimes } from './config.ts';
import type { Events } from './events.ts';
import type { FleetNode } from './fleet.ts';
import type { Jobs } from './jobs.ts';
import { makeMoves } from './moves.ts';
import { classOf } from './pending-task.ts';
import { makeTaskPool } from './task-pool.ts';
import { makeTaskSpec } from './task-spec.ts';

/** Gives waiting tasks a place: a round is planned when something happened that may matter, and written before it is told. */
export interface Rounds {
  /** Reckons from the store who has what. */
  load(): Promise<void>;
  wake(): void;
  onNode(node: FleetNode): void;
  onEnded(task: TaskRecord): void;
  run(signal: AbortSignal): Promise<void>;
  /** Why a task had no place in the last round. */
  whyWaiting(task: string): Waiting | undefined;
  freeOn(node: string): Resources | undefined;
  /** What the next round would do if these tasks waited, too; places nothing. */
  preview(tasks: readonly PendingTask[]): Promise<Plan>;
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

/** Who places tasks by answering offers, as the frameworks of Mesos' API; it shares with the built-in scheduler by the allocator. */
export interface OfferTaker {
  claimants(): readonly OfferClaimant[];
  /** These are in the ledger, to be ended there (`OfferEnded`) by whoever answers. */
  onOffers(offers: readonly MadeOffer[]): void;
  onRescinded(offers: readonly string[]): void;
}

export interface OfferClaimant extends Claimant {
  readonly framework: string;
}

export interface MadeOffer {
  readonly id: string;
  readonly claimant: OfferClaimant;
  readonly node: SchedulingNode;
  readonly resources: Resources;
}

/** So much of the time of a processor goes into better plans, as long as tasks come and go; less than `leastSearchMs` finds nothing. */
const searchShare = 0.05;
const leastSearchMs = 2;
const maxLooks = 1_500;

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
  readonly slowdownOf: (node: string) => number;
  /** The assignments of these nodes have changed. */
  readonly onPlaced: (nodes: readonly string[], tasks: readonly string[]) => void;
}): Rounds {
  const { store, jobs, fleet, scheduler, clock, log, events, newId, dice, policies, slowdownOf, onPlaced } = parts;
  const takers: OfferTaker[] = [];
  let ledger: Ledger = emptyLedger;
  let estimates: Estimates = noEstimates;
  let waiting: ReadonlyMap<string, Waiting> = new Map();
  const pool = makeTaskPool({ store, jobs });
  const moves = makeMoves({ store, jobs, fleet, pool, clock, log, events, ledger: () => ledger, wake });
  const learned = { classes: new Set<string>(), profiles: new Set<string>() };
  let [searchMs, searchedAt] = [defaultSearchMs, clock.monotonic()];
  let wakeUp: (() => void) | undefined;
  let isDue = false;

  function change(events: readonly LedgerEvent[]): Applied {
    const applied = applyEvents(ledger, events);
    ledger = applied.ledger;
    for (const { why } of applied.refused) log.warn('the ledger refused an event', { why });
    if (applied.rescinded.length > 0) for (const taker of takers) taker.onRescinded(applied.rescinded);
    return applied;
  }

  /** Makes offers to those who want some, and tells the nodes that are left to the built-in scheduler; undefined for all. */
  function share(nodes: readonly SchedulingNode[], pending: readonly PendingTask[]): ReadonlySet<string> | undefined {
    const wanting = takers.flatMap(taker => taker.claimants().map(claimant => ({ ...claimant, taker })));
    if (wanting.length === 0) return undefined;
    const own = ownClaimants(pending);
    const claimants: readonly (OwnClaimant | (OfferClaimant & { taker: OfferTaker }))[] = [...own, ...wanting];
    const grants = allocate({ ledger, nodes, claimants, policies: policies(), dice });
    const made = new Map<OfferTaker, MadeOffer[]>();
    for (const { claimant, node, resources } of grants) {
      if (!('taker' in claimant)) continue;
      const offers = made.get(claimant.taker) ?? [];
      offers.push({ id: newId(), claimant, node, resources });
      made.set(claimant.taker, offers);
    }
    for (const [taker, offers] of made) {
      change(
        offers.map(({ id: offer, claimant: { role }, node, resources }) => ({
          type: 'OfferMade',
          offer,
          node: node.id,
          role,
          resources,
        })),
      );
      taker.onOffers(offers);
    }
    return new Set(grants.flatMap(({ claimant, node }) => ('taker' in claimant ? [] : [node.id])));
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

  /** The clock decides how long is searched, and where it stands still (in tests) the number of looks at it. */
  function makeSearch(): Search | undefined {
    const started = clock.monotonic();
    searchMs = Math.min(defaultSearchMs, searchMs + (started - searchedAt) * searchShare);
    searchedAt = started;
    if (searchMs < leastSearchMs) return undefined;
    const [budgetMs, earlier] = [searchMs, waiting];
    let begin: number | undefined;
    let looks = 0;
    return {
      dice: seededRandom(1),
      spent() {
        begin ??= clock.monotonic();
        const usedMs = clock.monotonic() - begin;
        searchMs = Math.max(0, budgetMs - usedMs);
        return Math.max(usedMs / budgetMs, looks++ / maxLooks);
      },
      earlier: task => earlier.get(task)?.expected?.node,
    };
  }

  function inputOf(pending: readonly PendingTask[]): RoundInput {
    const now = clock.now();
    const nodes = fleet.list().map(node => toSchedulingNode(node, slowdownOf(node.id), now));
    const { running } = pool;
    return { round: newId(), now, ledger, nodes, pending, running, estimates, policies: policies() };
  }

  async function round(): Promise<number | null> {
    await keepLearned();
    await pool.refresh();
    const moveAt = await moves.carryOut();
    const input = inputOf(pool.pending());
    if (input.pending.length === 0) {
      waiting = new Map();
      share(input.nodes, []);
      return moveAt;
    }
    const granted = share(input.nodes, input.pending);
    const plan = planRound({ ...input, ledger, granted, search: makeSearch() }, scheduler);
    for (const { task, why } of plan.refused) log.error('a placement was refused', { task, why });
    waiting = new Map(plan.waiting.map(entry => [entry.task, entry]));
    moves.tell(task => waiting.get(task));
    await place(plan.launches);
    // what is left of what others wanted too is for them
    const againAt = granted === undefined || granted.size === 0 ? null : clock.now() + masterTimes.shareAgainMs;
    const moments = [plan.replanAt, againAt, moveAt].filter(at => at !== null);
    return moments.length === 0 ? null : Math.min(...moments);
  }

  async function place(launches: readonly PlannedLaunch[]): Promise<void> {
    if (launches.length === 0) return;
    const tasks = new Map<string, TaskRecord>();
    for (let i = 0; i < launches.length; i += maxIds) {
      const ids = launches.slice(i, i + maxIds).map(({ task }) => task);
      for (const task of await store.tasks.list({ states: ['TASK_STAGING'], ids })) tasks.set(task.id, task);
    }
    const at = clock.now();
    const known = new Map<string, Job | undefined>();
    const jobOf = async ({ namespace, job }: TaskRecord): Promise<Job | undefined> => {
      const key = `${namespace}/${job}`;
      if (!known.has(key)) known.set(key, await jobs.get(namespace, job));
      return known.get(key);
    };
    const placements: Placement[] = [];
    for (const { task: id, node, resources, ports, expectedEndAt } of launches) {
      const task = tasks.get(id);
      const job = task && (await jobOf(task));
      // withdrawn since the round began
      if (task === undefined || job === undefined || task.node !== null || task.stopping) continue;
      const spec = makeTaskSpec(job, task, resources, ports);
      const status = { uuid: newId(), task: id, state: 'TASK_STAGING', message: `placed on ${node}`, at } as const;
      placements.push({ task: id, node, spec, expectedEndAt, status });
    }
    if (placements.length === 0) return;
    const versions = await store.assignments.place(placements);
    // what was promised holds, even where its node has shrunk meanwhile; before the next wait, as a task may end by then
    change(
      placements.map(({ task, node, spec }) => ({
        type: 'TaskRecovered',
        task,
        node,
        resources: spec.resources,
        role: tasks.get(task)?.role,
      })),
    );
    log.info('tasks were placed', { tasks: placements.length, nodes: versions.length });
    onPlaced(
      versions.map(version => version.node),
      placements.map(({ task }) => task),
    );
  }

  return {
    async load() {
      change(
        fleet
          .list()
          .flatMap(({ id, birth }) => (birth ? [{ type: 'NodeRegistered', node: id, total: birth.total }] : [])),
      );
      const tasks = await store.tasks.list();
      change(
        tasks.flatMap(({ id: task, node, spec, state, role }) =>
          node === null || spec === null || isTerminal(state)
            ? []
            : [{ type: 'TaskRecovered', task, node, resources: spec.resources, role }],
        ),
      );
      await pool.load(tasks);
      estimates = recall(await store.estimates.list());
    },
    wake,
    onNode({ id, birth }) {
      if (birth !== null) change([{ type: 'NodeRegistered', node: id, total: birth.total }]);
      wake();
    },
    onEnded(task) {
      // an end may be reported twice, in other words each time
      if (nodeOf(ledger, task.id) === undefined) return;
      change([{ type: 'TaskEnded', task: task.id }]);
      study(task);
      wake();
    },
    async run(signal) {
      let replanAt: number | null = null;
      wake();
      while (!signal.aborted) {
        await untilDue(replanAt, signal);
        if (!(await clock.sleep(masterTimes.roundDelayMs, signal))) return;
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
    async preview(tasks) {
      await pool.refresh();
      return planRound(inputOf([...pool.pending(), ...tasks]), scheduler);
    },
    async explain(task) {
      await pool.refresh();
      return planRound({ ...inputOf(pool.pending()), explain: task }, scheduler).waiting.find(
        each => each.task === task,
      );
    },
    ledger: () => ledger,
    get hasWaiting() {
      return waiting.size > 0;
    },
    change,
    offerTo(taker) {
      takers.push(taker);
      wake();
    },
  };

  /** Learns how long the work of a finished task took. */
  function study(task: TaskRecord): void {
    const { type, state, ranMs, node } = task;
    const birth = node === null ? undefined : fleet.get(node)?.birth;
    if (type !== 'batch' || state !== 'TASK_FINISHED' || ranMs === null || !birth) return;
    const name = classOf(task);
    estimates = learn(estimates, { class: name, profile: birth.profile, speed: 1, durationMs: ranMs });
    learned.classes.add(name);
    learned.profiles.add(birth.profile);
  }

  /** All that was learned since the last time, in one transaction: what a crash takes is learned again. */
  async function keepLearned(): Promise<void> {
    if (learned.classes.size === 0) return;
    const rows = rowsOf(estimates, learned.classes, learned.profiles);
    learned.classes.clear();
    learned.profiles.clear();
    await store.estimates.save(rows, estimates.entries.size > maxEstimates / 2 ? oldestOf(estimates) : 0);
  }
}

interface OwnClaimant extends Claimant {}

/** So many kinds of waiting tasks are looked at when a node is to be granted. */
const maxKinds = 64;

/** The built-in scheduler asks for each role that it has waiting tasks of. */
function ownClaimants(pending: readonly PendingTask[]): OwnClaimant[] {
  const kinds = new Map<string, Map<string, PendingTask>>();
  for (const task of pending) {
    const { role = defaultRole, needs, portCount, nodePorts, constraints } = task;
    const ofRole = kinds.get(role) ?? new Map<string, PendingTask>();
    if (ofRole.size < maxKinds) ofRole.set(JSON.stringify([needs, portCount, nodePorts, constraints]), task);
    kinds.set(role, ofRole);
  }
  return [...kinds].map(([role, tasks]) => ({
    role,
    name: 'built-in',
    wants: ({ attributes }, free) =>
      [...tasks.values()].some(
        task =>
          unmetConstraints(task.constraints, attributes).length === 0 &&
          unmetNeeds(task, { total: free, free }).length === 0,
      ),
  }));
}

const unavailable = {
  joined: 'has not introduced itself yet',
  unreachable: 'is unreachable',
  quarantined: 'is in quarantine',
} as const;

function toSchedulingNode(node: FleetNode, slowdown: number, now: number): SchedulingNode {
  const { id, labels, birth } = node;
  const why = whyUnavailable(node, now);
  return {
    id,
    hostname: id,
    attributes: { ...birth?.attributes, ...labels, node: id },
    profile: birth?.profile ?? '',
    speed: 1,
    slowdown,
    ...(why !== undefined && { unavailable: why }),
  };
}

function whyUnavailable({ state, birth, drain = null }: FleetNode, now: number): string | undefined {
  if (birth === null) return unavailable.joined;
  if (state !== 'ready') return unavailable[state];
  return isDrained(drain, now) ? 'is drained' : undefined;
}

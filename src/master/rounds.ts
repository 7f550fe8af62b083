import type { Clock } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import type { Job } from '../model/document.ts';
import { nodePortsOf } from '../model/job.ts';
import type { Resources } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { isTerminal, liveStates } from '../model/task.ts';
import { allocate, type Claimant } from '../scheduling/allocator.ts';
import { type Estimates, learn, noEstimates } from '../scheduling/estimates.ts';
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
import type { Scheduler, SchedulingNode, Waiting } from '../scheduling/offers.ts';
import { defaultStrategy, type PendingTask } from '../scheduling/pending.ts';
import { type PlannedLaunch, planRound, type RunningTask } from '../scheduling/plan.ts';
import type { Placement } from '../store/assignments.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { masterTimes } from './config.ts';
import { resourcesOf } from './expand-job.ts';
import type { FleetNode } from './fleet.ts';
import type { Jobs } from './jobs.ts';
import { makeTaskSpec, portCountOf, taskOf } from './task-spec.ts';

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

export function makeRounds(parts: {
  readonly store: Store;
  readonly jobs: Jobs;
  readonly fleet: { list(): FleetNode[]; get(node: string): FleetNode | undefined };
  readonly scheduler: Scheduler;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  readonly dice: Random;
  readonly policies: () => RolePolicies;
  /** The assignments of these nodes have changed. */
  readonly onPlaced: (nodes: readonly string[], tasks: readonly string[]) => void;
}): Rounds {
  const { store, jobs, fleet, scheduler, clock, log, newId, dice, policies, onPlaced } = parts;
  const takers: OfferTaker[] = [];
  let ledger: Ledger = emptyLedger;
  let estimates: Estimates = noEstimates;
  let waiting: ReadonlyMap<string, Waiting> = new Map();
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

  async function round(): Promise<number | null> {
    const tasks = await store.tasks.list({ states: liveStates });
    const wanting = tasks.filter(task => task.node === null && !task.stopping);
    const nodes = fleet.list().map(toSchedulingNode);
    if (wanting.length === 0) {
      waiting = new Map();
      share(nodes, []);
      return null;
    }
    const jobOf = new Map((await jobs.list()).map(job => [`${job.metadata.namespace}/${job.metadata.name}`, job]));
    const pending = wanting.flatMap(task => toPending(task, jobOf.get(jobKeyOf(task))));
    const granted = share(nodes, pending);
    const plan = planRound(
      {
        round: newId(),
        now: clock.now(),
        ledger,
        nodes,
        pending,
        policies: policies(),
        granted,
        running: new Map(tasks.flatMap(task => toRunning(task, jobOf.get(jobKeyOf(task))))),
        estimates,
      },
      scheduler,
    );
    for (const { task, why } of plan.refused) log.error('a placement was refused', { task, why });
    waiting = new Map(plan.waiting.map(entry => [entry.task, entry]));
    await place(plan.launches, wanting, jobOf);
    // what is left of what others wanted too is for them
    const againAt = granted === undefined || granted.size === 0 ? null : clock.now() + masterTimes.shareAgainMs;
    return Math.min(plan.replanAt ?? Number.POSITIVE_INFINITY, againAt ?? Number.POSITIVE_INFINITY);
  }

  async function place(
    launches: readonly PlannedLaunch[],
    tasks: readonly TaskRecord[],
    jobOf: ReadonlyMap<string, Job>,
  ): Promise<void> {
    const byId = new Map(tasks.map(task => [task.id, task]));
    const at = clock.now();
    const placements = launches.flatMap(({ task: id, node, resources, ports, expectedEndAt }): Placement[] => {
      const task = byId.get(id);
      const job = task && jobOf.get(jobKeyOf(task));
      if (task === undefined || job === undefined) return [];
      const spec = makeTaskSpec(job, task, resources, ports);
      const status = { uuid: newId(), task: id, state: 'TASK_STAGING', message: `placed on ${node}`, at } as const;
      return [{ task: id, node, spec, expectedEndAt, status }];
    });
    if (placements.length === 0) return;
    const versions = await store.assignments.place(placements);
    // what was promised holds, even where its node has shrunk meanwhile; before the next wait, as a task may end by then
    change(
      placements.map(({ task, node, spec }) => ({
        type: 'TaskRecovered',
        task,
        node,
        resources: spec.resources,
        role: byId.get(task)?.role,
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
      const ended = tasks.filter(task => isTerminal(task.state)).sort((a, b) => (a.endedAt ?? 0) - (b.endedAt ?? 0));
      for (const task of ended) study(task);
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
  function study({ type, state, ranMs, node, job, namespace, label }: TaskRecord): void {
    const birth = node === null ? undefined : fleet.get(node)?.birth;
    if (type !== 'batch' || state !== 'TASK_FINISHED' || ranMs === null || !birth) return;
    const completion = {
      class: classOf({ job, namespace, label }),
      profile: birth.profile,
      speed: 1,
      durationMs: ranMs,
    };
    estimates = learn(estimates, completion);
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

function jobKeyOf({ namespace, job }: Pick<TaskRecord, 'namespace' | 'job'>): string {
  return `${namespace}/${job}`;
}

/** Tasks of a batch's list are work of their own; instances of one command are all the same work. */
function classOf({ job, namespace, label }: Pick<TaskRecord, 'job' | 'namespace' | 'label'>): string {
  return /^\d+$/.test(label) ? `${namespace}/${job}` : `${namespace}/${job}/${label}`;
}

const unavailable = {
  joined: 'has not introduced itself yet',
  unreachable: 'is unreachable',
  quarantined: 'is in quarantine',
} as const;

function toSchedulingNode({ id, labels, state, birth }: FleetNode): SchedulingNode {
  return {
    id,
    hostname: id,
    attributes: { ...birth?.attributes, ...labels, node: id },
    profile: birth?.profile ?? '',
    speed: 1,
    ...(state !== 'ready' && { unavailable: birth === null ? 'has not introduced itself yet' : unavailable[state] }),
  };
}

function toPending(task: TaskRecord, job: Job | undefined): PendingTask[] {
  if (job === undefined) return [];
  const { needs, expectedMs } = taskOf(job, task.label);
  return [
    {
      id: task.id,
      job: task.job,
      namespace: task.namespace,
      type: task.type,
      class: classOf(task),
      priority: task.priority,
      role: task.role,
      needs: resourcesOf(needs),
      portCount: portCountOf(job),
      nodePorts: nodePortsOf(job.spec),
      constraints: job.spec.constraints,
      strategy: job.spec.placement ?? defaultStrategy[task.type],
      expectedMs,
      submittedAt: task.submittedAt,
      order: task.position,
    },
  ];
}

function toRunning(task: TaskRecord, job: Job | undefined): [string, RunningTask][] {
  if (job === undefined || task.node === null) return [];
  const { namespace, type, startedAt } = task;
  const { expectedMs } = taskOf(job, task.label);
  return [[task.id, { job: task.job, namespace, type, class: classOf(task), expectedMs, startedAt }]];
}

import type { Clock } from '../../base/clock.ts';
import type { Log } from '../../base/log.ts';
import { onAbort } from '../../base/signal.ts';
import type { FrameworkView } from '../../model/api.ts';
import type { Drain } from '../../model/drain.ts';
import { rolesOf } from '../../model/framework.ts';
import { liveStates, type TaskStatus } from '../../model/task.ts';
import type { RolePolicies } from '../../scheduling/fairness.ts';
import type { Ledger, LedgerEvent } from '../../scheduling/ledger.ts';
import type { Store } from '../../store/store.ts';
import type { TaskRecord } from '../../store/task-record.ts';
import type { FleetNode } from '../fleet.ts';
import type { OfferTaker } from '../sharing.ts';
import { mesosTimes } from './bounds.ts';
import type { EventStream } from './event-stream.ts';
import type { Framework } from './framework.ts';
import { type Frameworks, makeFrameworks, type Subscription } from './frameworks.ts';
import { makeLaunches } from './launches.ts';
import type { MasterFacts } from './master-info.ts';
import { makeOffers } from './offers.ts';
import { makeOperator, type Operator } from './operator.ts';
import { makeOperatorEvents, type OperatorEvents } from './operator-events.ts';
import { makeReconciliation } from './reconciliation.ts';
import { makeScheduler, type Scheduler } from './scheduler.ts';
import { makeUpdates } from './updates.ts';

/** What this master is among those of its fleet. */
export type Standing =
  | { readonly is: 'leading' }
  /** It does not know all yet, or is about to stop. */
  | { readonly is: 'recovering' }
  /** `leader` is the `host:port` of the one to ask. */
  | { readonly is: 'following'; readonly leader: string };

/** Mesos' two levels: what the fleet has free is offered to frameworks that come by HTTP. */
export interface Mesos extends Pick<Frameworks, 'get' | 'disconnect' | 'list' | 'removed'> {
  readonly standing: Standing;
  readonly newId: () => string;
  /** Reads from the store who they are and what they hold. */
  load(): Promise<void>;
  subscribe(subscription: Subscription, stream: EventStream): Promise<Framework | undefined>;
  readonly call: Scheduler['call'];
  /** Whom each round asks. */
  readonly offerTaker: OfferTaker;
  readonly operator: Operator;
  readonly operatorEvents: OperatorEvents;
  teardown(framework: Framework): Promise<void>;
  /** Milliseconds since 1970. */
  now(): number;
  knowsAgent(agent: string): boolean;
  /** Throws NOT_FOUND. */
  drain(agent: string, drain: Drain | null): Promise<void>;
  /** It does not come back. */
  markGone(agent: string, reason: string): Promise<void>;
  /** What `mesolite get frameworks` shows. */
  view(): Promise<FrameworkView[]>;
  /** Tasks of jobs have a place. */
  onPlaced(tasks: readonly string[]): void;
  /** A report on a task was written. */
  onRecorded(task: TaskRecord, status: TaskStatus): void;
  onNode(node: FleetNode): void;
  run(signal: AbortSignal): Promise<void>;
}

export function makeMesos(parts: {
  readonly store: Store;
  readonly fleet: { list(): FleetNode[]; get(node: string): FleetNode | undefined };
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  readonly ledger: () => Ledger;
  readonly policies: () => RolePolicies;
  /** Has tasks leave a node, and none come; null has it take them again. */
  readonly drain: (node: string, drain: Drain | null) => Promise<void>;
  readonly markGone: (node: string, reason: string) => Promise<void>;
  readonly facts: () => MasterFacts;
  readonly standing: () => Standing;
  /** Changes who has what. */
  readonly change: (events: readonly LedgerEvent[]) => void;
  /** Do tasks of jobs wait for a place? */
  readonly jobsWait: () => boolean;
  /** Tasks that came or are to end: the assignments of these nodes have changed. */
  readonly onAssigned: (nodes: readonly string[]) => void;
  /** A round is due. */
  readonly wake: () => void;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): Mesos {
  const { store, fleet, clock, log, newId, change, jobsWait, onAssigned, wake, inBackground } = parts;
  /** Nodes that were ready when they were looked at last. */
  const seen = new Map<string, boolean>();
  let isStopping = false;
  const offers = makeOffers({
    fleet,
    frameworks: { get: id => frameworks.get(id), list: () => frameworks.list() },
    change,
    jobsWait,
    clock,
  });
  const frameworks: Frameworks = makeFrameworks({
    store: store.frameworks,
    clock,
    log,
    newId,
    masterInfo: () => parts.facts().info,
    inBackground,
    listener: {
      onAdded: framework => operatorEvents.onFramework('FRAMEWORK_ADDED', operator.seeFramework(framework)),
      onUpdated: framework => operatorEvents.onFramework('FRAMEWORK_UPDATED', operator.seeFramework(framework)),
      onDisconnected(framework) {
        offers.drop(framework);
        updates.drop(framework);
        wake();
      },
      async onRemoved(framework) {
        const { id } = framework;
        operatorEvents.onFramework('FRAMEWORK_REMOVED', operator.seeFramework(framework));
        const live = await store.tasks.list({ framework: id, states: liveStates });
        await stopTasks(live.map(task => task.id));
      },
    },
  });
  const updates = makeUpdates({ store, frameworks, clock, log });
  const reconciliation = makeReconciliation({ store, fleet, clock });
  const launches = makeLaunches({
    store,
    offers,
    change,
    updates,
    clock,
    log,
    newId,
    onLaunched(nodes, tasks) {
      onAssigned(nodes);
      onPlaced(tasks);
    },
  });
  const scheduler = makeScheduler({
    store,
    frameworks,
    offers,
    launches,
    updates,
    reconciliation,
    clock,
    change,
    stopTasks,
    wake,
  });

  const { ledger, policies, facts } = parts;
  const operator = makeOperator({ store, ledger, policies, fleet, frameworks, offers, clock, facts });
  const operatorEvents = makeOperatorEvents({ operator, clock });

  function onPlaced(tasks: readonly string[]): void {
    if (operatorEvents.isHeard) inBackground('telling operators of tasks', tellPlaced(tasks));
  }

  async function tellPlaced(tasks: readonly string[]): Promise<void> {
    for (const id of tasks) {
      const task = await store.tasks.get(id);
      if (task !== undefined) operatorEvents.onPlaced(task);
    }
  }

  async function stopTasks(tasks: readonly string[]): Promise<void> {
    const versions = await store.assignments.stop(tasks);
    if (versions.length > 0) onAssigned(versions.map(version => version.node));
  }

  function sweep(): void {
    frameworks.sweep();
    updates.sweep();
    operatorEvents.sweep();
    if (offers.sweep()) wake();
  }

  return {
    get standing(): Standing {
      return isStopping ? { is: 'recovering' } : parts.standing();
    },
    newId,
    now: () => clock.now(),
    knowsAgent: agent => fleet.get(agent) !== undefined,
    drain: parts.drain,
    markGone: parts.markGone,
    operator,
    operatorEvents,
    teardown: framework => framework.gate.run(() => frameworks.remove(framework, 'an operator tore it down')),
    async view() {
      const removed = frameworks
        .removed()
        .map(({ removedAt, ...each }) => ({ ...each, removedAt, state: 'removed' as const }));
      const present = frameworks.list().map(each => ({
        ...each,
        removedAt: null,
        state: each.stream === undefined ? ('away' as const) : ('connected' as const),
      }));
      const views: FrameworkView[] = [];
      for (const { id, info, principal, state, registeredAt, removedAt } of [...removed, ...present]) {
        const framework = frameworks.get(id);
        const offered = framework === undefined ? 0 : offers.of(framework).length;
        const roles = [...rolesOf(info)];
        const tasks = await store.tasks.countLive(id);
        views.push({ id, name: info.name, principal, state, roles, tasks, offers: offered, registeredAt, removedAt });
      }
      return views;
    },
    get: frameworks.get,
    list: frameworks.list,
    removed: frameworks.removed,
    async load() {
      await frameworks.load();
      for (const { id, state } of fleet.list()) seen.set(id, state === 'ready');
    },
    async subscribe(subscription, stream) {
      const framework = await frameworks.subscribe(subscription, stream);
      if (framework === undefined) return undefined;
      await updates.resume(framework);
      wake();
      return framework;
    },
    // who stops is no framework that went away
    disconnect: (framework, stream) => (isStopping ? undefined : frameworks.disconnect(framework, stream)),
    call: scheduler.call,
    offerTaker: offers,
    onPlaced,
    onRecorded(task, status) {
      updates.onRecorded(task);
      operatorEvents.onRecorded(task, status);
    },
    onNode(node) {
      const isReady = node.state === 'ready';
      const wasReady = seen.get(node.id);
      seen.set(node.id, isReady);
      if (!isReady) offers.rescindNode(node.id);
      if (wasReady !== isReady && node.birth !== null) operatorEvents.onAgent(operator.see(node), isReady);
      if (wasReady === undefined || wasReady === isReady) return;
      inBackground('telling frameworks of a node', reconciliation.onNode(frameworks.list(), node));
    },
    async run(signal) {
      onAbort(signal, () => {
        isStopping = true;
      });
      while (await clock.sleep(mesosTimes.sweepEveryMs, signal, 'loop')) sweep();
    },
  };
}

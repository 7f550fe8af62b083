import type { Clock } from '../../base/clock.ts';
import { isDrained } from '../../model/drain.ts';
import { rolesOf } from '../../model/framework.ts';
import { noResources } from '../../model/resources.ts';
import { liveStates } from '../../model/task.ts';
import { sumOf } from '../../scheduling/amounts.ts';
import type { RolePolicies } from '../../scheduling/fairness.ts';
import { accountOf, type Ledger } from '../../scheduling/ledger.ts';
import type { FrameworkRecord } from '../../store/frameworks.ts';
import type { Store } from '../../store/store.ts';
import type { FleetNode } from '../fleet.ts';
import { mesosBounds } from './bounds.ts';
import type { Framework } from './framework.ts';
import type { Frameworks } from './frameworks.ts';
import { type MasterFacts, mesosVersion } from './master-info.ts';
import { toMesosResources } from './mesos-resources.ts';
import type { Offers } from './offers.ts';
import { flatFrameworks, flatState, flatSummary, flatTasks, type TaskQuery } from './operator-flat.ts';
import { readMetrics } from './operator-metrics.ts';
import {
  jobsFramework,
  type SeenFramework,
  type SeenNode,
  type Snapshot,
  sortTasks,
  toAgent,
  toFlatAgent,
  toFramework,
  toTask,
} from './operator-views.ts';

/** Answers what Mesos' operators ask: the v1 API's calls, and the endpoints of before it. */
export interface Operator {
  readonly facts: MasterFacts;
  snapshot(): Promise<Snapshot>;
  see(node: FleetNode): SeenNode;
  seeFramework(framework: Framework): SeenFramework;
  version(): object;
  /** The answer to a call that only reads, under the name of the call in small letters; undefined for a call that is not known. */
  answer(type: string): Promise<object | undefined>;
  /** `/master/state` */
  state(): Promise<object>;
  /** `/master/state-summary`: no tasks, but how many there are of each state. */
  summary(): Promise<object>;
  agents(): Promise<object>;
  frameworks(): Promise<object>;
  tasks(query: TaskQuery): Promise<object>;
  metrics(): Promise<Readonly<Record<string, number>>>;
}

export function makeOperator(parts: {
  readonly store: Store;
  readonly ledger: () => Ledger;
  readonly policies: () => RolePolicies;
  readonly fleet: { list(): FleetNode[] };
  readonly frameworks: Pick<Frameworks, 'list' | 'removed'>;
  readonly offers: Offers;
  readonly clock: Clock;
  readonly facts: () => MasterFacts;
}): Operator {
  const { store, ledger, policies, fleet, frameworks, offers, clock, facts } = parts;

  function see(node: FleetNode): SeenNode {
    const { allocated = noResources, offered = noResources } = accountOf(ledger(), node.id) ?? {};
    // a window to come is no concern of Mesos' agents
    const drain = isDrained(node.drain ?? null, clock.now()) ? (node.drain ?? null) : null;
    return { ...node, drain, allocated, offered };
  }

  function seeFramework(framework: Framework): SeenFramework {
    const { info, id, principal, registeredAt, reregisteredAt, stream } = framework;
    const own = offers.of(framework).map(({ id: offer, node, resources }) => ({ id: offer, node, resources }));
    const offered = sumOf(own.map(({ resources }) => resources));
    const isConnected = stream !== undefined;
    return { info, id, principal, isConnected, registeredAt, reregisteredAt, removedAt: null, offered, offers: own };
  }

  function seeNodes(): SeenNode[] {
    // one that is gone for good has no account any more
    const isSeen = ({ id, birth }: FleetNode) => birth !== null && accountOf(ledger(), id) !== undefined;
    return fleet.list().filter(isSeen).map(see);
  }

  function seeFrameworks(): SeenFramework[] {
    return [jobsAsFramework(facts()), ...frameworks.list().map(seeFramework)];
  }

  async function snapshot(): Promise<Snapshot> {
    const live = await store.tasks.list({ states: liveStates });
    const ended = await store.tasks.newestEnded(mesosBounds.completedTasks);
    return {
      nodes: seeNodes(),
      frameworks: seeFrameworks(),
      removed: frameworks.removed().map(seeRemoved),
      tasks: [...ended, ...live],
    };
  }

  async function answer(type: string): Promise<object | undefined> {
    switch (type) {
      case 'GET_HEALTH':
        return { healthy: true };
      case 'GET_VERSION':
        return { version_info: versionOf(facts()) };
      case 'GET_MASTER':
        return {
          master_info: facts().info,
          elected_time: facts().startedAt / 1_000,
          start_time: facts().startedAt / 1_000,
        };
      case 'GET_FLAGS':
        return { flags: [] };
      case 'GET_LOGGING_LEVEL':
        return { level: 0 };
      case 'GET_METRICS':
        return { metrics: Object.entries(await metrics()).map(([name, value]) => ({ name, value })) };
      case 'GET_AGENTS':
        return { agents: seeNodes().map(toAgent), recovered_agents: [] };
      case 'GET_FRAMEWORKS':
        return allFrameworks(await snapshot());
      case 'GET_TASKS':
        return allTasks(await snapshot());
      case 'GET_EXECUTORS':
        return { executors: [], orphan_executors: [] };
      case 'GET_OPERATIONS':
        return { operations: [] };
      case 'GET_ROLES':
        return { roles: allRoles() };
      case 'GET_STATE':
        return allState(await snapshot());
      default:
        return undefined;
    }
  }

  function allRoles(): object[] {
    const all = seeFrameworks();
    const names = new Set([
      ...policies().keys(),
      ...ledger().roles.keys(),
      ...all.flatMap(({ info }) => rolesOf(info)),
    ]);
    return [...names].sort().map(name => ({
      name,
      weight: policies().get(name)?.weight ?? 1,
      frameworks: all.flatMap(({ id, info }) => (rolesOf(info).includes(name) ? [{ value: id }] : [])),
      resources: toMesosResources({ ...noResources, scalars: ledger().roles.get(name)?.scalars ?? {} }, name),
    }));
  }

  async function metrics(): Promise<Readonly<Record<string, number>>> {
    return readMetrics({
      uptimeMs: clock.now() - facts().startedAt,
      nodes: seeNodes(),
      frameworks: frameworks.list(),
      counts: await store.tasks.counts(),
      offers: offers.counts(),
    });
  }

  return {
    get facts() {
      return facts();
    },
    snapshot,
    see,
    seeFramework,
    version: () => versionOf(facts()),
    answer,
    async state() {
      return flatState(facts(), await snapshot());
    },
    async summary() {
      return flatSummary(facts(), await snapshot());
    },
    agents: async () => ({ slaves: seeNodes().map(toFlatAgent), recovered_slaves: [] }),
    async frameworks() {
      return flatFrameworks(await snapshot());
    },
    async tasks(query) {
      return flatTasks(await snapshot(), query);
    },
    metrics,
  };
}

/** What is done with jobs of this master, as one framework among the others. */
function jobsAsFramework({ startedAt, hostname }: MasterFacts): SeenFramework {
  return {
    info: { user: '', name: 'mesolite', hostname, failover_timeout: 0, checkpoint: true, capabilities: [] },
    id: jobsFramework,
    principal: 'mesolite',
    isConnected: true,
    registeredAt: startedAt,
    reregisteredAt: startedAt,
    removedAt: null,
    offered: noResources,
    offers: [],
  };
}

function seeRemoved({ id, info, principal, registeredAt, reregisteredAt, removedAt }: FrameworkRecord): SeenFramework {
  const shared = { isConnected: false, offered: noResources, offers: [] };
  return { ...shared, id, info, principal, registeredAt, reregisteredAt, removedAt };
}

function versionOf({ version, startedAt }: MasterFacts): object {
  return {
    version: mesosVersion,
    build_time: startedAt / 1_000,
    build_user: 'mesolite',
    git_tag: `mesolite-${version}`,
  };
}

function allTasks(snapshot: Snapshot): object {
  const { pending, present, unreachable, completed } = sortTasks(snapshot);
  return {
    pending_tasks: pending.map(toTask),
    tasks: present.map(toTask),
    unreachable_tasks: unreachable.map(toTask),
    completed_tasks: completed.map(toTask),
    orphan_tasks: [],
  };
}

function allFrameworks({ frameworks, removed, tasks }: Snapshot): object {
  return {
    frameworks: frameworks.map(each => toFramework(each, tasks)),
    completed_frameworks: removed.map(each => toFramework(each, tasks)),
    recovered_frameworks: [],
  };
}

/** `GET_STATE`, and what a subscriber of events begins with. */
export function allState(snapshot: Snapshot): object {
  return {
    get_tasks: allTasks(snapshot),
    get_executors: { executors: [], orphan_executors: [] },
    get_frameworks: allFrameworks(snapshot),
    get_agents: { agents: snapshot.nodes.map(toAgent), recovered_agents: [] },
  };
}

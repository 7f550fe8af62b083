import { type FrameworkInfo, rolesOf } from '../../model/framework.ts';
import { addResources, fromMilli, noResources, printRanges, type Resources } from '../../model/resources.ts';
import { isTerminal } from '../../model/task.ts';
import { withoutSlots } from '../../model/task-slots.ts';
import { isNothing } from '../../scheduling/amounts.ts';
import type { TaskRecord } from '../../store/task-record.ts';
import type { FleetNode } from '../fleet.ts';
import { toMesosResources } from './mesos-resources.ts';
import { toMesosStatus } from './task-status.ts';

/** What operators of Mesos see: everything at one moment. */
export interface Snapshot {
  readonly nodes: readonly SeenNode[];
  readonly frameworks: readonly SeenFramework[];
  readonly removed: readonly SeenFramework[];
  /** In the order of submission. */
  readonly tasks: readonly TaskRecord[];
}

export interface SeenNode extends FleetNode {
  readonly allocated: Resources;
  readonly offered: Resources;
}

export interface SeenFramework {
  readonly info: FrameworkInfo;
  readonly id: string;
  readonly principal: string;
  readonly isConnected: boolean;
  readonly registeredAt: number;
  readonly reregisteredAt: number;
  readonly removedAt: number | null;
  readonly offered: Resources;
  readonly offers: readonly { readonly id: string; readonly node: string; readonly resources: Resources }[];
}

/** The jobs of this master are a framework too. */
export const jobsFramework = 'mesolite-jobs';

export function frameworkOf({ framework }: TaskRecord): string {
  return framework ?? jobsFramework;
}

/** What a task holds, or would. */
function resourcesOf({ spec }: TaskRecord): Resources {
  return spec?.resources ?? noResources;
}

export function totalOf({ birth }: FleetNode): Resources {
  return birth?.total ?? noResources;
}

/** Mesos' `Task` of its v1 API. */
export function toTask(task: TaskRecord): object {
  const name = task.frameworkTask ?? task.id;
  const { reason, message, endedAt, startedAt, submittedAt } = task;
  const at = endedAt ?? startedAt ?? submittedAt;
  return {
    name: task.label,
    task_id: { value: name },
    framework_id: { value: frameworkOf(task) },
    executor_id: { value: name },
    agent_id: { value: task.node ?? '' },
    state: task.state,
    resources: toMesosResources(resourcesOf(task), task.role ?? '*'),
    statuses: [
      toMesosStatus(
        { task: name, agent: task.node ?? '' },
        { state: task.state, source: 'SOURCE_MASTER', reason: reason ?? undefined, message: message ?? undefined, at },
      ),
    ],
    labels: { labels: Object.entries(task.spec?.labels ?? {}).map(([key, value]) => ({ key, value })) },
  };
}

/** `mesos.master.Response.GetAgents.Agent` */
export function toAgent(node: SeenNode): object {
  const { id, birth, joinedAt, state, drain = null } = node;
  return {
    agent_info: {
      id: { value: id },
      hostname: id,
      port: birth?.meshPort ?? 0,
      resources: toMesosResources(totalOf(node)),
      attributes: attributesOf(node).map(([name, value]) => ({ name, type: 'TEXT', text: { value } })),
    },
    active: state === 'ready' && drain === null,
    deactivated: drain !== null,
    ...(drain?.endTasksAt != null && { drain_info: drainInfoOf(node) }),
    version: birth?.version ?? '',
    pid: pidOf(node),
    registered_time: { nanoseconds: joinedAt * 1e6 },
    total_resources: toMesosResources(totalOf(node)),
    allocated_resources: toMesosResources(node.allocated),
    offered_resources: toMesosResources(node.offered),
    capabilities: [],
  };
}

/** Mesos' `DrainInfo`: it is over when nothing is allocated any more. */
function drainInfoOf({ allocated, drain }: SeenNode): object {
  return { state: isNothing(allocated) ? 'DRAINED' : 'DRAINING', config: { mark_gone: drain?.thenGone === true } };
}

/** `mesos.master.Response.GetFrameworks.Framework` */
export function toFramework(framework: SeenFramework, tasks: readonly TaskRecord[]): object {
  const { info, id, isConnected, registeredAt, reregisteredAt, removedAt, offered, offers } = framework;
  return {
    framework_info: { ...info, id: { value: id } },
    active: isConnected,
    connected: isConnected,
    recovered: false,
    registered_time: { nanoseconds: registeredAt * 1e6 },
    reregistered_time: { nanoseconds: reregisteredAt * 1e6 },
    ...(removedAt !== null && { unregistered_time: { nanoseconds: removedAt * 1e6 } }),
    allocated_resources: toMesosResources(heldBy(framework, tasks)),
    offered_resources: toMesosResources(offered),
    offers: offers.map(offer => ({
      id: { value: offer.id },
      framework_id: { value: id },
      agent_id: { value: offer.node },
      hostname: offer.node,
      resources: toMesosResources(offer.resources),
    })),
    inverse_offers: [],
  };
}

/** Tasks by what Mesos calls them: `unreachable` are those whose node is silent. */
export function sortTasks({ tasks, nodes }: Snapshot) {
  const silent = new Set(nodes.filter(({ state }) => state !== 'ready').map(({ id }) => id));
  const live = tasks.filter(task => !isTerminal(task.state));
  return {
    pending: live.filter(task => task.node === null),
    present: live.filter(task => task.node !== null && !silent.has(task.node)),
    unreachable: live.filter(task => task.node !== null && silent.has(task.node)),
    completed: tasks.filter(task => isTerminal(task.state)),
  };
}

function heldBy({ id }: SeenFramework, tasks: readonly TaskRecord[]): Resources {
  return tasks.reduce(
    (sum, task) => (frameworkOf(task) === id && !isTerminal(task.state) ? addResources(sum, resourcesOf(task)) : sum),
    noResources,
  );
}

function attributesOf({ id, birth, labels }: FleetNode): [string, string][] {
  return Object.entries({ ...birth?.attributes, ...labels, node: id });
}

function pidOf({ birth }: FleetNode): string {
  return `slave(1)@${birth?.address ?? ''}:${birth?.meshPort ?? 0}`;
}

// The endpoints of before the v1 API have shapes of their own: numbers for scalars, a text for ranges.

/** `{cpus: 2, mem: 900, disk: 0, gpus: 0, ports: "[20000-20999]"}` */
export function toFlat(resources: Resources): Readonly<Record<string, number | string>> {
  const { scalars, ranges, sets } = withoutSlots(resources);
  return {
    cpus: 0,
    mem: 0,
    disk: 0,
    gpus: 0,
    ...Object.fromEntries(Object.entries(scalars).map(([name, milli]) => [name, fromMilli(milli)])),
    ...Object.fromEntries(Object.entries(ranges).map(([name, list]) => [name, `[${printRanges(list)}]`])),
    ...Object.fromEntries(Object.entries(sets).map(([name, items]) => [name, `{${items.join(', ')}}`])),
  };
}

export function toFlatTask(task: TaskRecord): object {
  const { startedAt, endedAt, submittedAt } = task;
  return {
    id: task.frameworkTask ?? task.id,
    name: task.label,
    framework_id: frameworkOf(task),
    executor_id: '',
    slave_id: task.node ?? '',
    state: task.state,
    role: task.role ?? '*',
    resources: toFlat(resourcesOf(task)),
    statuses: [{ state: task.state, timestamp: (endedAt ?? startedAt ?? submittedAt) / 1_000 }],
    labels: Object.entries(task.spec?.labels ?? {}).map(([key, value]) => ({ key, value })),
  };
}

export function toFlatAgent(node: SeenNode): object {
  const total = toFlat(totalOf(node));
  return {
    id: node.id,
    hostname: node.id,
    port: node.birth?.meshPort ?? 0,
    pid: pidOf(node),
    attributes: Object.fromEntries(attributesOf(node)),
    registered_time: node.joinedAt / 1_000,
    resources: total,
    used_resources: toFlat(node.allocated),
    offered_resources: toFlat(node.offered),
    reserved_resources: {},
    unreserved_resources: total,
    active: node.state === 'ready',
    deactivated: false,
    version: node.birth?.version ?? '',
    capabilities: [],
  };
}

export function toFlatFramework(framework: SeenFramework, sorted: ReturnType<typeof sortTasks>): object {
  const { info, id, isConnected, registeredAt, reregisteredAt, removedAt, offered, offers } = framework;
  const own = (tasks: readonly TaskRecord[]) => tasks.filter(task => frameworkOf(task) === id).map(toFlatTask);
  const held = heldBy(framework, [...sorted.present, ...sorted.unreachable]);
  const [role = '*'] = rolesOf(info);
  return {
    id,
    name: info.name,
    user: info.user,
    principal: framework.principal,
    hostname: info.hostname ?? '',
    webui_url: info.webui_url ?? '',
    role,
    roles: rolesOf(info),
    failover_timeout: info.failover_timeout,
    checkpoint: info.checkpoint ?? false,
    capabilities: info.capabilities.map(({ type }) => type),
    active: isConnected,
    connected: isConnected,
    recovered: false,
    registered_time: registeredAt / 1_000,
    reregistered_time: reregisteredAt / 1_000,
    unregistered_time: (removedAt ?? 0) / 1_000,
    resources: toFlat(addResources(held, offered)),
    used_resources: toFlat(held),
    offered_resources: toFlat(offered),
    offers: offers.map(offer => ({
      ...offer,
      framework_id: id,
      slave_id: offer.node,
      resources: toFlat(offer.resources),
    })),
    tasks: own(sorted.present),
    unreachable_tasks: own(sorted.unreachable),
    completed_tasks: own(sorted.completed),
    executors: [],
  };
}

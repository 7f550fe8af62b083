import { fromMilli } from '../../model/resources.ts';
import type { TaskState } from '../../model/task.ts';
import type { Framework } from './framework.ts';
import { type SeenNode, totalOf } from './operator-views.ts';

/** What metrics are reckoned from. */
export interface Reading {
  readonly uptimeMs: number;
  readonly nodes: readonly SeenNode[];
  readonly frameworks: readonly Framework[];
  /** Tasks that are kept, by state. */
  readonly counts: ReadonlyMap<TaskState, number>;
  readonly offers: { readonly outstanding: number; readonly passes: number };
}

/** `/metrics/snapshot`: names and units as Mesos has them. */
export function readMetrics({
  uptimeMs,
  nodes,
  frameworks,
  counts,
  offers,
}: Reading): Readonly<Record<string, number>> {
  const ready = nodes.filter(({ state }) => state === 'ready').length;
  const connected = frameworks.filter(({ stream }) => stream !== undefined).length;
  const tasks = (...states: readonly TaskState[]) => states.reduce((sum, state) => sum + (counts.get(state) ?? 0), 0);
  return {
    'master/uptime_secs': uptimeMs / 1_000,
    'master/elected': 1,
    ...Object.fromEntries(['cpus', 'mem', 'disk'].flatMap(name => usesOf(name, nodes))),
    'master/slaves_active': ready,
    'master/slaves_inactive': 0,
    'master/slaves_connected': ready,
    'master/slaves_disconnected': 0,
    'master/slaves_unreachable': nodes.length - ready,
    'master/frameworks_active': connected,
    'master/frameworks_inactive': frameworks.length - connected,
    'master/frameworks_connected': connected,
    'master/frameworks_disconnected': frameworks.length - connected,
    'master/outstanding_offers': offers.outstanding,
    'master/tasks_staging': tasks('TASK_STAGING'),
    'master/tasks_starting': tasks('TASK_STARTING'),
    'master/tasks_running': tasks('TASK_RUNNING'),
    'master/tasks_killing': tasks('TASK_KILLING'),
    'master/tasks_unreachable': tasks('TASK_UNREACHABLE'),
    'master/tasks_finished': tasks('TASK_FINISHED'),
    'master/tasks_failed': tasks('TASK_FAILED'),
    'master/tasks_killed': tasks('TASK_KILLED'),
    'master/tasks_error': tasks('TASK_ERROR'),
    'master/tasks_lost': tasks('TASK_LOST'),
    'master/tasks_dropped': tasks('TASK_DROPPED'),
    'master/tasks_gone': tasks('TASK_GONE', 'TASK_GONE_BY_OPERATOR'),
    'allocator/mesos/allocation_runs': offers.passes,
  };
}

function usesOf(name: string, nodes: readonly SeenNode[]): [string, number][] {
  const sum = (of: (node: SeenNode) => number | undefined) => nodes.reduce((all, node) => all + (of(node) ?? 0), 0);
  const total = sum(node => totalOf(node).scalars[name]);
  const used = sum(node => node.allocated.scalars[name]);
  return [
    [`master/${name}_total`, fromMilli(total)],
    [`master/${name}_used`, fromMilli(used)],
    [`master/${name}_percent`, total === 0 ? 0 : used / total],
  ];
}

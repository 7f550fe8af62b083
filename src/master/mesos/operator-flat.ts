import { type MasterFacts, mesosVersion } from './master-info.ts';
import { frameworkOf, type Snapshot, sortTasks, toFlatAgent, toFlatFramework, toFlatTask } from './operator-views.ts';

// The endpoints of before the v1 API, whole.

/** Of `/master/tasks`. */
export interface TaskQuery {
  readonly limit: number;
  readonly offset: number;
  readonly order: 'asc' | 'des';
  readonly framework?: string | undefined;
  readonly task?: string | undefined;
}

/** `/master/frameworks` */
export function flatFrameworks(snapshot: Snapshot) {
  const sorted = sortTasks(snapshot);
  return {
    frameworks: snapshot.frameworks.map(each => toFlatFramework(each, sorted)),
    completed_frameworks: snapshot.removed.map(each => toFlatFramework(each, sorted)),
    unregistered_frameworks: [],
  };
}

function flatHead({ id, hostname, port, version, startedAt, info }: MasterFacts, { nodes }: Snapshot): object {
  const of = (isReady: boolean) => nodes.filter(({ state }) => (state === 'ready') === isReady).length;
  const address = `${hostname}:${port}`;
  return {
    version: mesosVersion,
    build_user: 'mesolite',
    git_tag: `mesolite-${version}`,
    start_time: startedAt / 1_000,
    elected_time: startedAt / 1_000,
    id,
    pid: `master@${address}`,
    hostname,
    cluster: 'mesolite',
    leader: `master@${address}`,
    leader_info: info,
    activated_slaves: of(true),
    deactivated_slaves: 0,
    unreachable_slaves: of(false),
    flags: {},
  };
}

/** `/master/state` */
export function flatState(facts: MasterFacts, snapshot: Snapshot): object {
  return {
    ...flatHead(facts, snapshot),
    slaves: snapshot.nodes.map(toFlatAgent),
    recovered_slaves: [],
    ...flatFrameworks(snapshot),
    orphan_tasks: [],
  };
}

/** `/master/state-summary`: no tasks, but how many there are of each state. */
export function flatSummary(facts: MasterFacts, snapshot: Snapshot): object {
  const { frameworks, nodes, tasks } = snapshot;
  const none = { pending: [], present: [], unreachable: [], completed: [] };
  const count = (mine: Snapshot['tasks']) => {
    const counts: Record<string, number> = {};
    for (const { state } of mine) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  };
  return {
    ...flatHead(facts, snapshot),
    slaves: nodes.map(node => {
      const own = tasks.filter(task => task.node === node.id);
      return { ...toFlatAgent(node), ...count(own), framework_ids: [...new Set(own.map(frameworkOf))] };
    }),
    frameworks: frameworks.map(framework => {
      const own = tasks.filter(task => frameworkOf(task) === framework.id);
      const slave_ids = [...new Set(own.flatMap(({ node }) => (node === null ? [] : [node])))];
      return { ...toFlatFramework(framework, none), ...count(own), slave_ids };
    }),
  };
}

/** `/master/tasks` */
export function flatTasks({ tasks }: Snapshot, { limit, offset, order, framework, task }: TaskQuery): object {
  const wanted = tasks.filter(
    each =>
      (framework === undefined || frameworkOf(each) === framework) &&
      (task === undefined || (each.frameworkTask ?? each.id) === task),
  );
  const sorted = order === 'asc' ? wanted : wanted.toReversed();
  return { tasks: sorted.slice(offset, offset + limit).map(toFlatTask) };
}

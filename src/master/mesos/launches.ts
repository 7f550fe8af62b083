import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { frameworkNamespace } from '../../model/framework.ts';
import { type Resources, shortages, subtractResources } from '../../model/resources.ts';
import { isTerminal, type TaskState } from '../../model/task.ts';
import { heldBy, maxTasksPerNode, slotsOf } from '../../model/task-slots.ts';
import { sumOf } from '../../scheduling/amounts.ts';
import type { LedgerEvent } from '../../scheduling/ledger.ts';
import type { FrameworkLaunch } from '../../store/frameworks.ts';
import type { Store } from '../../store/store.ts';
import { mesosBounds } from './bounds.ts';
import type { CallOf, Operation } from './calls.ts';
import type { Framework } from './framework.ts';
import type { Offers, OutstandingOffer } from './offers.ts';
import { type ReadTask, readTaskInfo, toName, toTaskSpec } from './task-info.ts';
import { stateFor, toMesosStatus } from './task-status.ts';
import type { Updates } from './updates.ts';

/** Turns the answer to offers into tasks that their nodes are to run. */
export interface Launches {
  accept(framework: Framework, call: CallOf<'ACCEPT'>['accept']): Promise<void>;
}

/** How many more tasks the framework may have, and the slots of the node that are left. */
interface Room {
  readonly tasks: number;
  readonly slots: number;
}

/** Why a task is not launched; it is told in an update that nobody acknowledges, as Mesos' master does. */
interface Refused {
  readonly task: string;
  readonly agent: string;
  readonly state: TaskState;
  readonly reason: string;
  readonly message: string;
}

export function makeLaunches(parts: {
  readonly store: Store;
  readonly offers: Offers;
  /** Changes who has what. */
  readonly change: (events: readonly LedgerEvent[]) => void;
  readonly updates: Pick<Updates, 'isPending'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  /** These came, and the assignments of the nodes have changed. */
  readonly onLaunched: (nodes: readonly string[], tasks: readonly string[]) => void;
}): Launches {
  const { store, offers, change, updates, clock, log, newId, onLaunched } = parts;

  function tell(framework: Framework, refused: readonly Refused[]): void {
    for (const { task, agent, state, reason, message } of refused) {
      const told = stateFor(framework.info, state);
      const status = toMesosStatus(
        { task, agent },
        { state: told, source: 'SOURCE_MASTER', reason, message, at: clock.now() },
      );
      framework.stream?.send({ type: 'UPDATE', update: { status } });
    }
  }

  /** Reads the tasks of one operation in turn; all of a group or none. */
  async function plan(
    framework: Framework,
    operation: Operation,
    used: readonly OutstandingOffer[],
    left: Resources,
    taken: ReadonlySet<string>,
    room: Room,
  ): Promise<{
    readonly launches: FrameworkLaunch[];
    readonly refused: Refused[];
    readonly left: Resources;
    readonly room: Room;
  }> {
    const sent = operation.launch_group?.task_group.tasks ?? operation.launch?.task_infos ?? [];
    const tasks = sent.flatMap(each => readTaskInfo(each) ?? []);
    const launches: FrameworkLaunch[] = [];
    const refused: Refused[] = [];
    let [rest, roomLeft] = [left, room];
    const [offer] = used;
    const agent = offer?.node ?? '';
    const names = new Set(taken);
    for (const task of tasks) {
      const why = await whyNot(framework, task, agent, rest, names, roomLeft.tasks);
      const name = task.ok ? task.info.task_id.value : task.task;
      names.add(name);
      const launch = why === undefined && task.ok && offer && toLaunch(framework, task, offer);
      const slots = launch ? slotsOf(launch.placement.spec) : 0;
      if (!task.ok || !launch || slots > roomLeft.slots) {
        const full = `Agent ${agent} takes no more than ${maxTasksPerNode} tasks, and fewer where they are large`;
        const message = why ?? full;
        refused.push({ task: name, agent, state: 'TASK_ERROR', reason: 'REASON_TASK_INVALID', message });
        continue;
      }
      rest = subtractResources(rest, task.resources);
      roomLeft = { tasks: roomLeft.tasks - 1, slots: roomLeft.slots - slots };
      launches.push(launch);
    }
    const isGroup = operation.launch_group !== undefined;
    if (!isGroup || refused.length === 0) return { launches, refused, left: rest, room: roomLeft };
    const message = 'another task of its group is invalid';
    const others = launches.map(({ frameworkTask: task }) => ({
      task,
      agent,
      state: 'TASK_ERROR' as const,
      reason: 'REASON_TASK_GROUP_INVALID',
      message,
    }));
    return { launches: [], refused: [...refused, ...others], left, room };
  }

  async function whyNot(
    framework: Framework,
    task: ReadTask,
    agent: string,
    left: Resources,
    taken: ReadonlySet<string>,
    room: number,
  ): Promise<string | undefined> {
    if (!task.ok) return task.why;
    const { value: name } = task.info.task_id;
    if (task.info.agent_id.value !== agent) {
      return `Task uses agent ${task.info.agent_id.value} while its offers are of agent ${agent}`;
    }
    const before = taken.has(name) ? undefined : await store.tasks.ofFramework(framework.id, name);
    const isThere = before !== undefined && (!isTerminal(before.state) || updates.isPending(framework, before.id));
    if (taken.has(name) || isThere) return `Task has duplicate ID: ${name}`;
    const missing = shortages(left, task.resources);
    if (missing.length > 0) return `Task uses more resources than were offered: ${missing.join('; ')}`;
    return room <= 0 ? `The framework has ${mesosBounds.liveTasks} tasks, which is the most` : undefined;
  }

  function toLaunch(
    framework: Framework,
    task: Extract<ReadTask, { ok: true }>,
    offer: OutstandingOffer,
  ): FrameworkLaunch {
    const { info, resources } = task;
    const name = info.task_id.value;
    const at = clock.now();
    const job = toName(framework.info.name) || 'framework';
    const id = `${nearestId(name)}.${newId().replaceAll('-', '').slice(0, 8)}`;
    const namespace = frameworkNamespace;
    const own = { id, job, namespace, serviceAccount: toName(framework.principal) || 'framework' };
    return {
      task: {
        id,
        job,
        namespace,
        label: info.name,
        type: 'service',
        priority: 50,
        role: offer.role,
        template: '',
        position: 0,
        submittedAt: at,
      },
      framework: framework.id,
      frameworkTask: name,
      placement: {
        task: id,
        node: offer.node,
        spec: toTaskSpec(info, resources, own),
        expectedEndAt: null,
        status: { uuid: newId(), task: id, state: 'TASK_STAGING', message: `launched on ${offer.node}`, at },
      },
    };
  }

  /** Writes the launches, and moves what they use from the offers to them; the rest is free. */
  async function carryOut(used: readonly OutstandingOffer[], launches: readonly FrameworkLaunch[]): Promise<void> {
    const ends = used.map(({ id: offer }) => ({ type: 'OfferEnded', offer }) as const);
    try {
      const versions = launches.length === 0 ? [] : await store.frameworks.launch(launches);
      const starts = launches.map(({ task: { id: task, role }, placement: { node, spec } }) => {
        return { type: 'TaskRecovered', task, node, role, resources: heldBy(spec) } as const;
      });
      change([...ends, ...starts]);
      const nodes = versions.map(({ node }) => node);
      if (launches.length > 0)
        onLaunched(
          nodes,
          launches.map(({ task }) => task.id),
        );
    } catch (error) {
      change(ends);
      throw error;
    }
  }

  return {
    async accept(framework, { offer_ids, operations, filters }) {
      const used = offers.take(
        framework,
        offer_ids.map(({ value }) => value),
      );
      const unusable = used === undefined ? 'Offers are not valid any more' : whyNotTogether(used);
      if (used === undefined || unusable !== undefined) {
        change((used ?? []).map(({ id: offer }) => ({ type: 'OfferEnded', offer })));
        tell(framework, lost(framework, operations, unusable ?? ''));
        return;
      }
      let left = sumOf(used.map(({ resources }) => resources));
      const launches: FrameworkLaunch[] = [];
      const refused: Refused[] = [];
      let room = {
        tasks: mesosBounds.liveTasks - (await store.tasks.countLive(framework.id)),
        slots: used.reduce((sum, { slots }) => sum + slots, 0),
      };
      for (const operation of operations) {
        const names = new Set(launches.map(({ frameworkTask }) => frameworkTask));
        const planned = await plan(framework, operation, used, left, names, room);
        launches.push(...planned.launches);
        refused.push(...planned.refused);
        ({ left, room } = planned);
      }
      try {
        await carryOut(used, launches);
      } catch (error) {
        log.error('tasks of a framework could not be launched', { framework: framework.id, reason: messageOf(error) });
        const message = 'The master could not write them down';
        tell(framework, lost(framework, operations, message));
        throw error;
      }
      tell(framework, refused);
      offers.refuse(used, left, filters?.refuse_seconds);
      if (launches.length > 0) {
        log.info('a framework launched tasks', {
          framework: framework.id,
          tasks: launches.length,
          node: used[0]?.node,
        });
      }
    },
  };
}

function whyNotTogether(used: readonly OutstandingOffer[]): string | undefined {
  const [first] = used;
  if (first === undefined) return 'No offers specified';
  if (used.some(({ node }) => node !== first.node)) return 'Aggregated offers must belong to one single agent';
  return used.some(({ role }) => role !== first.role)
    ? 'Aggregated offers must be allocated to the same role'
    : undefined;
}

/** All tasks of an answer to offers that do not hold. */
function lost({ info }: Framework, operations: readonly Operation[], message: string): Refused[] {
  const tasks = operations.flatMap(({ launch, launch_group }) => [
    ...(launch?.task_infos ?? []),
    ...(launch_group?.task_group.tasks ?? []),
  ]);
  return tasks.flatMap(sent => {
    const task = readTaskInfo(sent);
    if (task === undefined) return [];
    const [name, agent] = task.ok ? [task.info.task_id.value, task.info.agent_id.value] : [task.task, ''];
    const state = stateFor(info, 'TASK_DROPPED');
    return [
      {
        task: name,
        agent,
        state,
        reason: 'REASON_INVALID_OFFERS',
        message: `Task launched with invalid offers: ${message}`,
      },
    ];
  });
}

/** A framework may name its tasks with any characters; ids here are file names too. */
function nearestId(name: string): string {
  return `t${name}`
    .replace(/^t(?=[A-Za-z0-9])/, '')
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .slice(0, 200);
}

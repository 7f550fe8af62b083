import type { Clock } from '../../base/clock.ts';
import { liveStates, type TaskState } from '../../model/task.ts';
import type { Store } from '../../store/store.ts';
import type { TaskRecord } from '../../store/task-record.ts';
import type { FleetNode } from '../fleet.ts';
import type { CallOf } from './calls.ts';
import type { Framework } from './framework.ts';
import { type MesosStatus, stateFor, toMesosStatus } from './task-status.ts';

/** Says how tasks stand, as far as the master knows, without a report of a node. */
export interface Reconciliation {
  /** Answers for each task that is asked for; for all that have not ended when none is. */
  reconcile(framework: Framework, call: CallOf<'RECONCILE'>['reconcile']): Promise<void>;
  /** The tasks on `node` cannot be seen any more, or can be again. */
  onNode(frameworks: readonly Framework[], node: FleetNode): Promise<void>;
}

export function makeReconciliation(parts: {
  readonly store: Store;
  readonly fleet: { get(node: string): FleetNode | undefined };
  readonly clock: Clock;
}): Reconciliation {
  const { store, fleet, clock } = parts;

  function say({ stream }: Framework, status: MesosStatus): void {
    stream?.send({ type: 'UPDATE', update: { status } });
  }

  /** What its node would say, unless that is silent. */
  function stateOf({ state, node }: TaskRecord): TaskState {
    const isSeen = node === null || fleet.get(node)?.state === 'ready';
    return isSeen || !liveStates.includes(state) ? state : 'TASK_UNREACHABLE';
  }

  function answer(framework: Framework, task: TaskRecord, reason: string): MesosStatus {
    const state = stateFor(framework.info, stateOf(task));
    const message = task.message ?? undefined;
    return toMesosStatus(
      { task: task.frameworkTask ?? task.id, agent: task.node ?? '' },
      { state, source: 'SOURCE_MASTER', reason, message, at: clock.now() },
    );
  }

  function answerUnknown({ info }: Framework, task: string, agent: string): MesosStatus {
    const isKnown = fleet.get(agent) !== undefined;
    const state = stateFor(info, isKnown ? 'TASK_GONE' : 'TASK_UNKNOWN');
    const message = isKnown ? 'Reconciliation: the agent has no such task' : 'Reconciliation: task is unknown';
    const told = { state, source: 'SOURCE_MASTER', reason: 'REASON_RECONCILIATION', message, at: clock.now() } as const;
    return toMesosStatus({ task, agent }, told);
  }

  return {
    async reconcile(framework, { tasks }) {
      if (tasks.length === 0) {
        const live = await store.tasks.list({ framework: framework.id, states: liveStates });
        for (const task of live) say(framework, answer(framework, task, 'REASON_RECONCILIATION'));
        return;
      }
      for (const {
        task_id: { value: name },
        agent_id,
      } of tasks) {
        const task = await store.tasks.ofFramework(framework.id, name);
        say(
          framework,
          task === undefined
            ? answerUnknown(framework, name, agent_id?.value ?? '')
            : answer(framework, task, 'REASON_RECONCILIATION'),
        );
      }
    },
    async onNode(frameworks, { id, state }) {
      const isSeen = state === 'ready';
      const live = frameworks.length === 0 ? [] : await store.tasks.list({ node: id, states: liveStates });
      for (const framework of frameworks) {
        if (!isSeen) framework.stream?.send({ type: 'FAILURE', failure: { agent_id: { value: id } } });
        const reason = isSeen ? 'REASON_AGENT_REREGISTERED' : 'REASON_AGENT_REMOVED';
        for (const task of live) if (task.framework === framework.id) say(framework, answer(framework, task, reason));
      }
    },
  };
}

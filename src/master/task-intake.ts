import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { isTerminal, liveStates, type TaskStatus } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { Outgoing } from './outgoing.ts';

/** Commits what nodes report on their tasks, then acknowledges it, then lets the rest of the master know. */
export interface TaskIntake {
  onStatuses(node: string, statuses: readonly TaskStatus[]): Promise<void>;
  /** All that the node has: what should have ended and is not there any more has ended. */
  onBirth(node: string, statuses: readonly TaskStatus[]): Promise<void>;
  /** It does not come back: whatever it had has ended. */
  onGone(node: string, message: string): Promise<void>;
  /** These are not there any more, and nobody knows how they ended. */
  onLost(node: string, tasks: readonly string[], message: string): Promise<void>;
}

export interface TaskNews {
  /** A task has ended: the node's assignment is another. */
  readonly ended: boolean;
  /** Of tasks that serve: endpoints may have come or gone. */
  readonly serving: boolean;
}

/** Statuses in one transaction and in one acknowledgement. */
const perTransaction = 100;

export function makeTaskIntake(parts: {
  readonly store: Store;
  readonly outgoing: Pick<Outgoing, 'ack'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  /** Each report that is new, once it is written. */
  readonly onRecorded: (task: TaskRecord, status: TaskStatus) => void;
  readonly onEnded: (task: TaskRecord) => void;
  /** After each batch of a node that held news. */
  readonly onChanged: (node: string, news: TaskNews) => void;
}): TaskIntake {
  const { store, outgoing, clock, log, newId, onRecorded, onEnded, onChanged } = parts;
  const gate = new Gate(10_000);

  async function commit(node: string, statuses: readonly TaskStatus[]): Promise<void> {
    await record(node, statuses);
    // what names no task of that node is acknowledged too: it would be said for ever
    await outgoing.ack(node, { statuses: statuses.map(status => status.uuid) });
  }

  async function record(node: string, statuses: readonly TaskStatus[]): Promise<void> {
    const outcomes = await store.tasks.recordStatuses(statuses, { node, receivedAt: clock.now() });
    const fresh = statuses.filter((_, i) => outcomes[i] === 'new');
    let news: TaskNews = { ended: false, serving: false };
    for (const status of fresh) {
      const { task: id, state, reason, message } = status;
      const task = await store.tasks.get(id);
      if (task === undefined) continue;
      onRecorded(task, status);
      const ended = isTerminal(state);
      news = { ended: news.ended || ended, serving: news.serving || task.spec?.service !== undefined };
      if (!ended) continue;
      log.info('a task ended', { task: id, node, state, reason, message });
      onEnded(task);
    }
    if (fresh.length > 0) onChanged(node, news);
  }

  async function onStatuses(node: string, statuses: readonly TaskStatus[]): Promise<void> {
    for (let i = 0; i < statuses.length; i += perTransaction) {
      await gate.run(() => commit(node, statuses.slice(i, i + perTransaction)));
    }
  }

  /** What the master says of tasks in the place of their node. */
  async function end(
    node: string,
    tasks: readonly Pick<TaskRecord, 'id'>[],
    how: Pick<TaskStatus, 'state' | 'reason' | 'message'>,
  ) {
    const at = clock.now();
    const statuses = tasks.map(({ id: task }) => ({ uuid: newId(), task, ...how, at }));
    for (let i = 0; i < statuses.length; i += perTransaction)
      await gate.run(() => record(node, statuses.slice(i, i + perTransaction)));
  }

  return {
    onStatuses,
    async onGone(node, message) {
      const tasks = await store.tasks.list({ node, states: liveStates });
      const reason = 'REASON_AGENT_REMOVED_BY_OPERATOR';
      await end(node, tasks, { state: 'TASK_GONE_BY_OPERATOR', reason, message });
    },
    onLost: (node, tasks, message) =>
      end(
        node,
        tasks.map(id => ({ id })),
        { state: 'TASK_LOST', message },
      ),
    async onBirth(node, statuses) {
      await onStatuses(node, statuses);
      const there = new Set(statuses.map(status => status.task));
      const gone = (await store.tasks.list({ node })).filter(
        task => task.stopping && !isTerminal(task.state) && !there.has(task.id),
      );
      await end(node, gone, { state: 'TASK_KILLED', message: 'no longer on its node' });
    },
  };
}

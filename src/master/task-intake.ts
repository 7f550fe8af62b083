import type { Clock } from '../base/clock.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import { isTerminal, type TaskStatus } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { Outgoing } from './outgoing.ts';

/** Commits what nodes report on their tasks, then acknowledges it, then lets the rest of the master know. */
export interface TaskIntake {
  onStatuses(node: string, statuses: readonly TaskStatus[]): Promise<void>;
}

/** Statuses in one transaction and in one acknowledgement. */
const perTransaction = 100;

export function makeTaskIntake(parts: {
  readonly store: Store;
  readonly outgoing: Pick<Outgoing, 'ack'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onEnded: (task: TaskRecord) => void;
  /** After each batch: endpoints may have changed. */
  readonly onChanged: (node: string, ended: boolean) => void;
}): TaskIntake {
  const { store, outgoing, clock, log, onEnded, onChanged } = parts;
  const gate = new Gate(10_000);

  async function commit(node: string, statuses: readonly TaskStatus[]): Promise<void> {
    const outcomes = await store.tasks.recordStatuses(statuses, { node, receivedAt: clock.now() });
    // what names no task of that node is acknowledged too: it would be said for ever
    await outgoing.ack(node, { statuses: statuses.map(status => status.uuid) });
    const fresh = statuses.filter((_, i) => outcomes[i] === 'new');
    const ended = fresh.filter(status => isTerminal(status.state));
    for (const { task, state, reason, message } of ended) {
      log.info('a task ended', { task, node, state, reason, message });
      const record = await store.tasks.get(task);
      if (record !== undefined) onEnded(record);
    }
    if (fresh.length > 0) onChanged(node, ended.length > 0);
  }

  return {
    async onStatuses(node, statuses) {
      for (let i = 0; i < statuses.length; i += perTransaction) {
        await gate.run(() => commit(node, statuses.slice(i, i + perTransaction)));
      }
    },
  };
}

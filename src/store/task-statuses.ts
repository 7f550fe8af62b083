import type { Transaction } from 'kysely';
import { isTerminal, type TaskStatus } from '../model/task.ts';
import { raiseGenerations } from './generations.ts';
import type { Schema, TaskTable } from './schema.ts';
import { terminalStates } from './task-record.ts';

/** Who reports: a node on the tasks that it was given, or (null) the master itself on any. */
export interface StatusSource {
  readonly node: string | null;
  readonly receivedAt: number;
}

/**
 * `new`: stored and the task follows it. `repeated`: was stored before, nothing changed. `unknown`: there is no such task on
 * that node, nothing stored.
 */
export type RecordOutcome = 'new' | 'repeated' | 'unknown';

/** How many events a task keeps: a repeat is of something recent, since a node reports in order. */
export const keptEvents = 200;

export async function recordStatuses(
  tx: Transaction<Schema>,
  statuses: readonly TaskStatus[],
  source: StatusSource,
): Promise<RecordOutcome[]> {
  const outcomes: RecordOutcome[] = [];
  const touched = new Set<string>();
  for (const status of statuses) {
    const task = await tx.selectFrom('tasks').selectAll().where('id', '=', status.task).executeTakeFirst();
    if (task === undefined || (source.node !== null && task.node !== source.node)) {
      outcomes.push('unknown');
      continue;
    }
    const isNew = await addEvent(tx, status, source.receivedAt);
    outcomes.push(isNew ? 'new' : 'repeated');
    if (!isNew || terminalStates.includes(task.state)) continue;
    await tx.updateTable('tasks').set(changeOf(task, status)).where('id', '=', task.id).execute();
    if (isTerminal(status.state) && task.node !== null && task.stopping === 0) touched.add(task.node);
  }
  await raiseGenerations(tx, [...touched]);
  return outcomes;
}

async function addEvent(tx: Transaction<Schema>, status: TaskStatus, receivedAt: number): Promise<boolean> {
  const newest = await tx
    .selectFrom('taskEvents')
    .select(eb => eb.fn.max('position').as('position'))
    .where('task', '=', status.task)
    .executeTakeFirst();
  const position = (newest?.position ?? 0) + 1;
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('taskEvents')
    .values({ task: status.task, uuid: status.uuid, position, receivedAt, statusJson: JSON.stringify(status) })
    .onConflict(on => on.columns(['task', 'uuid']).doNothing())
    .executeTakeFirst();
  if (numInsertedOrUpdatedRows === 0n) return false;
  await tx
    .deleteFrom('taskEvents')
    .where('task', '=', status.task)
    .where('position', '<=', position - keptEvents)
    .execute();
  return true;
}

function changeOf(task: TaskTable, status: TaskStatus): Partial<TaskTable> {
  const ended = isTerminal(status.state);
  // why it was told to end is why it ended
  const told = task.state === 'TASK_KILLING' ? task : { reason: null, message: null };
  return {
    state: status.state,
    ready: !ended && status.ready === true ? 1 : 0,
    restarts: status.restarts ?? task.restarts,
    startedAt: task.startedAt ?? (status.state === 'TASK_RUNNING' ? status.at : null),
    endedAt: ended ? status.at : null,
    reason: status.reason ?? told.reason,
    message: status.message ?? told.message,
    exitCode: status.exitCode ?? null,
    signal: status.signal ?? null,
    pid: status.pid ?? null,
    ranMs: status.ranMs ?? task.ranMs,
  };
}

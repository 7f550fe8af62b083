import type { Kysely, Transaction } from 'kysely';

import { type FrameworkInfo, frameworkInfoSchema } from '../model/framework.ts';
import { type TaskStatus, taskStatusSchema } from '../model/task.ts';
import { type Placement, place } from './assignments.ts';
import type { AssignmentVersion } from './generations.ts';
import { paced } from './paced.ts';
import type { FrameworkTable, Schema } from './schema.ts';
import { readJson } from './stored-json.ts';
import { type NewTask, toRow } from './task-record.ts';

/** A framework of Mesos' scheduler API, as it subscribed last. */
export interface FrameworkRecord extends Omit<FrameworkTable, 'infoJson'> {
  readonly info: FrameworkInfo;
}

/** A task that a framework launches: placed from its first moment on. */
export interface FrameworkLaunch {
  readonly task: NewTask;
  readonly framework: string;
  readonly frameworkTask: string;
  readonly placement: Placement;
}

/** What a framework is yet to acknowledge: the oldest such event of a task. */
export interface PendingUpdate {
  readonly status: TaskStatus;
  readonly position: number;
}

/** The frameworks, what they launch, and how far they have acknowledged what became of it. */
export interface Frameworks {
  put(framework: FrameworkRecord): Promise<void>;
  /** Those that were removed too, oldest first. */
  list(): Promise<FrameworkRecord[]>;
  remove(id: string, at: number): Promise<void>;
  /** Forgets removed frameworks beyond the `keep` newest; returns how many. */
  trimRemoved(keep: number): Promise<number>;
  /** All or none; throws CONFLICT when an id is taken, NOT_FOUND for a node. The master's own word of the placement is not told. */
  launch(launches: readonly FrameworkLaunch[]): Promise<AssignmentVersion[]>;
  nextUpdate(task: string): Promise<PendingUpdate | undefined>;
  /** The tasks of a framework with something that it has not acknowledged. */
  unacknowledged(framework: string): Promise<string[]>;
  acknowledge(task: string, position: number): Promise<void>;
}

export function makeFrameworks(db: Kysely<Schema>): Frameworks {
  return {
    async put({ info, ...record }) {
      const row = { ...record, infoJson: JSON.stringify(info) };
      await db
        .insertInto('frameworks')
        .values(row)
        .onConflict(on => on.column('id').doUpdateSet(row))
        .execute();
    },
    async list() {
      const rows = await db.selectFrom('frameworks').selectAll().orderBy('registeredAt').orderBy('id').execute();
      return rows.map(({ infoJson, ...row }) => ({
        ...row,
        info: readJson(frameworkInfoSchema, infoJson, `info of framework ${row.id}`),
      }));
    },
    async remove(id, at) {
      await db.updateTable('frameworks').set({ removedAt: at }).where('id', '=', id).execute();
    },
    async trimRemoved(keep) {
      const newest = db
        .selectFrom('frameworks')
        .select('id')
        .where('removedAt', 'is not', null)
        .orderBy('removedAt', 'desc')
        .limit(keep);
      const { numDeletedRows } = await db
        .deleteFrom('frameworks')
        .where('removedAt', 'is not', null)
        .where('id', 'not in', newest)
        .executeTakeFirst();
      return Number(numDeletedRows);
    },
    launch: launches => db.transaction().execute(tx => launch(tx, launches)),
    nextUpdate: task => nextUpdate(db, task),
    async unacknowledged(framework) {
      const rows = await db
        .selectFrom('tasks')
        .innerJoin('taskEvents', 'taskEvents.task', 'tasks.id')
        .select('tasks.id')
        .distinct()
        .where('tasks.framework', '=', framework)
        .whereRef('taskEvents.position', '>', 'tasks.acknowledged')
        .execute();
      return rows.map(row => row.id);
    },
    async acknowledge(task, position) {
      await db
        .updateTable('tasks')
        .set({ acknowledged: position })
        .where('id', '=', task)
        .where('acknowledged', '<', position)
        .execute();
    },
  };
}

async function launch(tx: Transaction<Schema>, launches: readonly FrameworkLaunch[]): Promise<AssignmentVersion[]> {
  await paced(launches, async ({ task, framework, frameworkTask }) => {
    // the first event is the master's own word of the placement
    const row = { ...toRow(task), framework, frameworkTask, acknowledged: 1 };
    await tx.insertInto('tasks').values(row).execute();
  });
  return place(
    tx,
    launches.map(each => each.placement),
  );
}

async function nextUpdate(db: Kysely<Schema>, task: string): Promise<PendingUpdate | undefined> {
  const row = await db
    .selectFrom('taskEvents')
    .innerJoin('tasks', 'tasks.id', 'taskEvents.task')
    .select(['taskEvents.position', 'taskEvents.statusJson'])
    .where('taskEvents.task', '=', task)
    .whereRef('taskEvents.position', '>', 'tasks.acknowledged')
    .orderBy('taskEvents.position')
    .executeTakeFirst();
  if (row === undefined) return undefined;
  const status = readJson(taskStatusSchema, row.statusJson, `status of task ${task}`);
  return { status, position: row.position };
}

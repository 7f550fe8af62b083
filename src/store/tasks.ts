import type { Kysely } from 'kysely';
import { liveStates, type TaskState, type TaskStatus, taskStates, taskStatusSchema } from '../model/task.ts';
import { paced } from './paced.ts';
import type { Schema } from './schema.ts';
import { readJson } from './stored-json.ts';
import { type NewTask, type TaskRecord, terminalStates, toRow, toTask } from './task-record.ts';
import { type RecordOutcome, recordStatuses, type StatusSource } from './task-statuses.ts';

export interface TaskFilter {
  readonly job?: string;
  readonly namespace?: string;
  readonly node?: string;
  readonly states?: readonly TaskState[];
  /** Null for those of jobs. */
  readonly framework?: string | null;
  /** At most `maxIds` of them. */
  readonly ids?: readonly string[];
}

/** Of one query by id: SQLite takes 32,766 values. */
export const maxIds = 8_192;

/** Hears the ids of tasks that were written, after each transaction; those that were only trimmed long after their end are not told. */
export type TaskListener = (ids: readonly string[]) => void;

export interface Tasks {
  watch(listener: TaskListener): void;
  /** All or none; throws CONFLICT when an id is taken. */
  insert(tasks: readonly NewTask[]): Promise<void>;
  get(id: string): Promise<TaskRecord | undefined>;
  /** The newest that a framework launched by this name. */
  ofFramework(framework: string, name: string): Promise<TaskRecord | undefined>;
  /** Ended ones, the newest `limit`, oldest first. */
  newestEnded(limit: number): Promise<TaskRecord[]>;
  /** How many there are of each state. */
  counts(): Promise<ReadonlyMap<TaskState, number>>;
  /** How many of a framework's tasks have not ended. */
  countLive(framework: string): Promise<number>;
  /** In the order of submission, within a job by position. */
  list(filter?: TaskFilter): Promise<TaskRecord[]>;
  /**
   * Writes what was reported, in order and in one transaction; see `RecordOutcome`. A terminal state is final: what is reported
   * after it only joins the history. Reports may be acknowledged as soon as this returns.
   */
  recordStatuses(statuses: readonly TaskStatus[], source: StatusSource): Promise<RecordOutcome[]>;
  /** Oldest first; of a task that reports without end, the newest 200. */
  history(task: string): Promise<TaskStatus[]>;
  /** Forgets the ended tasks of a job, or these of them, at most `maxIds`; returns how many. */
  removeEnded(job: { readonly namespace: string; readonly job: string }, ids?: readonly string[]): Promise<number>;
  /**
   * Forgets ended tasks beyond the `keep` newest, of services and of jobs that are gone; returns how many. The tasks of
   * a batch that is still there are its result.
   */
  trimEnded(keep: number): Promise<number>;
}

export function makeTasks(db: Kysely<Schema>, listeners: TaskListener[]): Tasks {
  const tell = (ids: readonly string[]) => {
    for (const listener of listeners) listener(ids);
  };
  return {
    watch: listener => void listeners.push(listener),
    async insert(tasks) {
      await db.transaction().execute(async tx => {
        await paced(tasks, async task => {
          await tx.insertInto('tasks').values(toRow(task)).execute();
        });
      });
      tell(tasks.map(task => task.id));
    },
    async get(id) {
      const row = await db.selectFrom('tasks').selectAll().where('id', '=', id).executeTakeFirst();
      return row && toTask(row);
    },
    async ofFramework(framework, name) {
      const row = await db
        .selectFrom('tasks')
        .selectAll()
        .where('framework', '=', framework)
        .where('frameworkTask', '=', name)
        .orderBy('submittedAt', 'desc')
        .limit(1)
        .executeTakeFirst();
      return row && toTask(row);
    },
    async newestEnded(limit) {
      const rows = await db
        .selectFrom('tasks')
        .selectAll()
        .where('state', 'in', terminalStates)
        .orderBy('endedAt', 'desc')
        .limit(limit)
        .execute();
      const tasks: TaskRecord[] = [];
      await paced(rows.reverse(), row => void tasks.push(toTask(row)));
      return tasks;
    },
    async counts() {
      const rows = await db
        .selectFrom('tasks')
        .select(['state', eb => eb.fn.countAll().as('count')])
        .groupBy('state')
        .execute();
      return new Map(
        taskStates.flatMap(state => rows.flatMap(row => (row.state === state ? [[state, Number(row.count)]] : []))),
      );
    },
    async countLive(framework) {
      const row = await db
        .selectFrom('tasks')
        .select(eb => eb.fn.countAll().as('count'))
        .where('framework', '=', framework)
        .where('state', 'in', liveStates)
        .executeTakeFirstOrThrow();
      return Number(row.count);
    },
    list: (filter = {}) => list(db, filter),
    async recordStatuses(statuses, source) {
      const outcomes = await db.transaction().execute(tx => recordStatuses(tx, statuses, source));
      tell(statuses.map(status => status.task));
      return outcomes;
    },
    async history(task) {
      const rows = await db
        .selectFrom('taskEvents')
        .select('statusJson')
        .where('task', '=', task)
        .orderBy('position')
        .execute();
      return rows.map(row => readJson(taskStatusSchema, row.statusJson, `status of task ${task}`));
    },
    async removeEnded({ namespace, job }, ids) {
      const ended = db.deleteFrom('tasks').where('state', 'in', terminalStates);
      const meant = ids === undefined ? ended : ended.where('id', 'in', padded(ids.slice(0, maxIds)));
      const { numDeletedRows } = await meant
        .where('namespace', '=', namespace)
        .where('job', '=', job)
        .where('framework', 'is', null)
        .executeTakeFirst();
      return Number(numDeletedRows);
    },
    trimEnded: keep => trimEnded(db, keep),
  };
}

async function list(
  db: Kysely<Schema>,
  { job, namespace, node, states, framework, ids }: TaskFilter,
): Promise<TaskRecord[]> {
  let query = db.selectFrom('tasks').selectAll();
  if (job !== undefined) query = query.where('job', '=', job);
  if (namespace !== undefined) query = query.where('namespace', '=', namespace);
  if (node !== undefined) query = query.where('node', '=', node);
  if (states !== undefined) query = query.where('state', 'in', states);
  if (framework !== undefined) query = query.where('framework', framework === null ? 'is' : '=', framework);
  if (ids !== undefined) query = query.where('id', 'in', padded(ids));
  const rows = await query.orderBy('submittedAt').orderBy('namespace').orderBy('job').orderBy('position').execute();
  const tasks: TaskRecord[] = [];
  await paced(rows, row => void tasks.push(toTask(row)));
  return tasks;
}

/** As many as the next power of two, so that there are few texts of statements to keep. */
function padded(ids: readonly string[]): string[] {
  const length = 2 ** Math.ceil(Math.log2(Math.max(1, ids.length)));
  return Array.from({ length }, (_, i) => ids[i] ?? '');
}

async function trimEnded(db: Kysely<Schema>, keep: number): Promise<number> {
  const newest = db
    .selectFrom('tasks')
    .select('id')
    .where('state', 'in', terminalStates)
    .orderBy('endedAt', 'desc')
    .limit(keep);
  const { numDeletedRows } = await db
    .deleteFrom('tasks')
    .where('state', 'in', terminalStates)
    .where('id', 'not in', newest)
    .where(eb => {
      const job = eb
        .selectFrom('documents')
        .select('documents.name')
        .where('documents.kind', '=', 'Job')
        .whereRef('documents.name', '=', 'tasks.job')
        .whereRef('documents.namespace', '=', 'tasks.namespace');
      return eb.or([eb('type', '=', 'service'), eb.not(eb.exists(job))]);
    })
    .executeTakeFirst();
  return Number(numDeletedRows);
}

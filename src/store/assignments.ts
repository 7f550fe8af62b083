import type { Kysely, Transaction } from 'kysely';
import { MesoliteError } from '../base/errors.ts';
import { liveStates, type TaskSpec, type TaskStatus } from '../model/task.ts';
import { type AssignmentVersion, adopt, isKnown, raiseGenerations } from './generations.ts';
import { paced } from './paced.ts';
import type { Schema } from './schema.ts';
import { readSpec } from './task-record.ts';
import { recordStatuses } from './task-statuses.ts';
import type { TaskListener } from './tasks.ts';

export interface Placement {
  readonly task: string;
  readonly node: string;
  readonly spec: TaskSpec;
  readonly expectedEndAt: number | null;
  /** What is told of it from the same moment on: before any word of the node. */
  readonly status: TaskStatus;
}

export interface NodeAssignment extends AssignmentVersion {
  /** By task id. */
  readonly tasks: readonly TaskSpec[];
}

/**
 * The tasks that each node is to have. INVARIANT: `of(node).tasks` changes exactly when its (epoch, generation) rises, in the same
 * transaction; so a task's terminal status raises it, too.
 */
export interface Assignments {
  /** Gives waiting tasks to nodes; all or none. Throws CONFLICT when one does not wait, NOT_FOUND for a node. */
  place(placements: readonly Placement[]): Promise<AssignmentVersion[]>;
  /**
   * Takes tasks away from their nodes, to be ended there; those that have ended, or wait, are left alone. `statuses` tell why, in the
   * same transaction.
   */
  stop(tasks: readonly string[], statuses?: readonly TaskStatus[]): Promise<AssignmentVersion[]>;
  of(node: string): Promise<NodeAssignment | undefined>;
  /** Was this assignment made here? Not by another master, nor by this one after its database was copied. */
  isKnown(version: AssignmentVersion): Promise<boolean>;
  /** Makes what follows newer than an assignment that is not known. */
  adopt(version: AssignmentVersion): Promise<void>;
}

/** So much of specs is remembered, in characters of their JSON: a node's assignment is read anew with each of its tasks that ends. */
const maxSpecChars = 16 * 1024 * 1024;

export function makeAssignments(db: Kysely<Schema>, listeners: readonly TaskListener[]): Assignments {
  const tell = (ids: readonly string[]) => {
    for (const listener of listeners) listener(ids);
  };
  const specs = new Map<string, { readonly json: string; readonly spec: TaskSpec }>();
  let specChars = 0;
  const specOf = (task: string, json: string): TaskSpec => {
    const known = specs.get(task);
    if (known?.json === json) return known.spec;
    const spec = readSpec(task, json);
    specs.set(task, { json, spec });
    specChars += json.length - (known?.json.length ?? 0);
    for (const [oldest, { json: left }] of specs) {
      if (specChars <= maxSpecChars) break;
      specs.delete(oldest);
      specChars -= left.length;
    }
    return spec;
  };
  return {
    async place(placements) {
      const versions = await db.transaction().execute(tx => place(tx, placements));
      tell(placements.map(({ task }) => task));
      return versions;
    },
    async stop(tasks, statuses = []) {
      const versions = await db.transaction().execute(tx => stop(tx, tasks, statuses));
      tell(tasks);
      return versions;
    },
    of: node => db.transaction().execute(tx => assignmentOf(tx, node, specOf)),
    isKnown: version => db.transaction().execute(tx => isKnown(tx, version)),
    adopt: version =>
      db.transaction().execute(async tx => {
        await adopt(tx, version);
        await raiseGenerations(tx, [version.node]);
      }),
  };
}

/** As `Assignments.place`, for who has more to write in the same transaction. */
export async function place(tx: Transaction<Schema>, placements: readonly Placement[]): Promise<AssignmentVersion[]> {
  const nodes = new Set(placements.map(placement => placement.node));
  const versions = await raiseGenerations(tx, [...nodes]);
  const missing = [...nodes].find(node => !versions.some(version => version.node === node));
  if (missing !== undefined) throw new MesoliteError('NOT_FOUND', `there is no node ${missing}`);
  await paced(placements, async ({ task, node, spec, expectedEndAt, status }) => {
    const { numUpdatedRows } = await tx
      .updateTable('tasks')
      .set({ node, specJson: JSON.stringify(spec), expectedEndAt })
      .where('id', '=', task)
      .where('node', 'is', null)
      .where('state', '=', 'TASK_STAGING')
      .executeTakeFirst();
    if (numUpdatedRows === 0n) throw new MesoliteError('CONFLICT', `task ${task} does not wait to be placed`);
    await recordStatuses(tx, [status], { node: null, receivedAt: status.at });
  });
  return versions;
}

async function stop(
  tx: Transaction<Schema>,
  tasks: readonly string[],
  statuses: readonly TaskStatus[],
): Promise<AssignmentVersion[]> {
  const nodes = new Set<string>();
  await paced(tasks, async task => {
    const stopped = await tx
      .updateTable('tasks')
      .set({ stopping: 1, ready: 0 })
      .where('id', '=', task)
      .where('node', 'is not', null)
      .where('stopping', '=', 0)
      .where('state', 'in', liveStates)
      .returning('node')
      .executeTakeFirst();
    if (stopped?.node != null) nodes.add(stopped.node);
  });
  for (const status of statuses) await recordStatuses(tx, [status], { node: null, receivedAt: status.at });
  return raiseGenerations(tx, [...nodes]);
}

async function assignmentOf(
  tx: Transaction<Schema>,
  node: string,
  specOf: (task: string, json: string) => TaskSpec,
): Promise<NodeAssignment | undefined> {
  const version = await tx
    .selectFrom('nodes')
    .select(['epoch', 'generation'])
    .where('id', '=', node)
    .executeTakeFirst();
  if (version === undefined) return undefined;
  const rows = await tx
    .selectFrom('tasks')
    .select(['id', 'specJson'])
    .where('node', '=', node)
    .where('stopping', '=', 0)
    .where('state', 'in', liveStates)
    .orderBy('id')
    .execute();
  const tasks = rows.flatMap(row => (row.specJson === null ? [] : [specOf(row.id, row.specJson)]));
  return { node, ...version, tasks };
}

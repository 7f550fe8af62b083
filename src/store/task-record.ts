import * as v from 'valibot';
import { decode } from '../base/shape.ts';
import { isTerminal, type TaskSpec, taskSpecSchema, taskStates } from '../model/task.ts';
import type { TaskTable } from './schema.ts';
import { readJson } from './stored-json.ts';

export const terminalStates: readonly string[] = taskStates.filter(isTerminal);

const rowSchema = v.object({
  id: v.string(),
  job: v.string(),
  namespace: v.string(),
  /** The batch task's own name, or the instance's number. */
  label: v.string(),
  type: v.picklist(['service', 'batch']),
  priority: v.number(),
  /** Mesos' role that it counts for. */
  role: v.string(),
  /** Names what it was made from: a task of another template is not what its job wants any more. */
  template: v.string(),
  /** Its place in the job, from 0. */
  position: v.number(),
  node: v.nullable(v.string()),
  /** TASK_STAGING without a node is: waits to be placed. */
  state: v.picklist(taskStates),
  submittedAt: v.number(),
  /** Of the first TASK_RUNNING and of the terminal state, by the node's clock. */
  startedAt: v.nullable(v.number()),
  endedAt: v.nullable(v.number()),
  expectedEndAt: v.nullable(v.number()),
  restarts: v.number(),
  reason: v.nullable(v.string()),
  message: v.nullable(v.string()),
  exitCode: v.nullable(v.number()),
  signal: v.nullable(v.string()),
  pid: v.nullable(v.number()),
  ranMs: v.nullable(v.number()),
  /** Who launched it over Mesos' API, and what it is called there; null for tasks of jobs. */
  framework: v.nullable(v.string()),
  frameworkTask: v.nullable(v.string()),
});

/** A task and how it stands. */
export interface TaskRecord extends Readonly<v.InferOutput<typeof rowSchema>> {
  readonly ready: boolean;
  /** The master wants it ended: it is no longer part of its node's assignment. */
  readonly stopping: boolean;
  /** Once it is placed. */
  readonly spec: TaskSpec | null;
}

/** What a task is before it is placed. */
export type NewTask = Pick<
  TaskRecord,
  'id' | 'job' | 'namespace' | 'label' | 'type' | 'priority' | 'role' | 'template' | 'position' | 'submittedAt'
>;

export function toTask({ specJson, ready, stopping, ...row }: TaskTable): TaskRecord {
  return {
    ...decode(rowSchema, row, `stored task ${row.id}`),
    ready: ready === 1,
    stopping: stopping === 1,
    spec: specJson === null ? null : readSpec(row.id, specJson),
  };
}

export function readSpec(task: string, specJson: string): TaskSpec {
  return readJson(taskSpecSchema, specJson, `spec of task ${task}`);
}

export function toRow(task: NewTask): TaskTable {
  return {
    ...task,
    node: null,
    state: 'TASK_STAGING',
    stopping: 0,
    specJson: null,
    startedAt: null,
    endedAt: null,
    expectedEndAt: null,
    ready: 0,
    restarts: 0,
    reason: null,
    message: null,
    exitCode: null,
    signal: null,
    pid: null,
    ranMs: null,
    framework: null,
    frameworkTask: null,
    acknowledged: 0,
  };
}

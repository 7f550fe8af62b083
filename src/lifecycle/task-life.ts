import type { TaskSpec, TaskStatus } from '../model/task.ts';
import type { HealthState } from './health-state.ts';
import type { TaskExit } from './task-exit.ts';

/** What a task can take more of than it may have. */
export type Limited = 'memory' | 'disk';

/** Why a run is being ended by us. */
export interface Stop {
  readonly cause: 'kill' | 'maxRun' | 'unhealthy' | Limited;
  readonly message: string;
}

/** Where a task is; times by the monotonic clock, in milliseconds. */
export type TaskPhase =
  | { readonly phase: 'staging' }
  | { readonly phase: 'starting'; readonly stop?: Stop }
  | {
      readonly phase: 'running';
      readonly pid: number;
      readonly startedAt: number;
      readonly health?: HealthState;
      /** `signalAt` is when the next signal is due: SIGTERM until it `isTold`, then SIGKILL, first or again. */
      readonly stop?: Stop & { readonly signalAt: number; readonly isTold: boolean };
    }
  /** Between two runs. */
  | { readonly phase: 'waiting'; readonly resumeAt: number }
  | { readonly phase: 'ended' };

/** The life of one task on one node: plain data, changed only by `advance`. */
export interface TaskLife {
  readonly spec: TaskSpec;
  /** Numbers the runs from 1; steps and events carry it, so that news of an earlier run is known as such. */
  readonly run: number;
  /** Runs in a row that ended early. */
  readonly failures: number;
  readonly restarts: number;
  readonly now: TaskPhase;
}

/** What happened to a task. */
export type TaskEvent =
  /** It is to run; nothing of it is on the node. */
  | { readonly on: 'launch' }
  /** A restarted agent has found it running, or what it left. */
  | { readonly on: 'found'; readonly pid: number; readonly ranMs: number }
  | { readonly on: 'foundEnded'; readonly exit: TaskExit; readonly ranMs: number }
  | { readonly on: 'started'; readonly run: number; readonly pid: number }
  /** Where it is before it is started. */
  | { readonly on: 'progress'; readonly run: number; readonly message: string }
  /** It could not be started; `permanent`: and never will. `reason` is Mesos', where it is not that of a command. */
  | {
      readonly on: 'notStarted';
      readonly run: number;
      readonly message: string;
      readonly permanent: boolean;
      readonly reason?: string;
    }
  | { readonly on: 'exited'; readonly run: number; readonly exit: TaskExit }
  | { readonly on: 'checked'; readonly run: number; readonly healthy: boolean; readonly message: string }
  /** It has taken more than it may have. */
  | { readonly on: 'exceeded'; readonly run: number; readonly what: Limited; readonly message: string }
  /** It is to end. */
  | { readonly on: 'kill'; readonly message: string }
  /** The time that `wakeAt` named has come. */
  | { readonly on: 'wake' };

/** A status without what only the agent knows: the uuid, the task's id, and the time. */
export type TaskReport = Omit<TaskStatus, 'uuid' | 'task' | 'at'>;

/** What is to be done; the agent has one executor for each. */
export type TaskStep =
  /** Answered by `started` or `notStarted`, later by `exited`, all of the same run. */
  | { readonly do: 'start'; readonly run: number }
  /** To the whole process group. */
  | { readonly do: 'signal'; readonly signal: 'SIGTERM' | 'SIGKILL' }
  /** One health check, answered by `checked` of the same run. */
  | { readonly do: 'check'; readonly run: number }
  /** The mesh endpoint opens or closes. */
  | { readonly do: 'ready'; readonly ready: boolean }
  | { readonly do: 'report'; readonly status: TaskReport };

/** A task that was just assigned. */
export function newTaskLife(spec: TaskSpec): TaskLife {
  return { spec, run: 0, failures: 0, restarts: 0, now: { phase: 'staging' } };
}

/** May the task be called through the mesh: it runs, passed its health check if it has one, and is not being ended. */
export function isReady({ now }: TaskLife): boolean {
  return now.phase === 'running' && now.stop === undefined && (now.health?.passed ?? true);
}

/** Is its endpoint open? A little longer than it is called ready, since callers have yet to hear that it goes. */
export function isOpen(life: TaskLife): boolean {
  const { now } = life;
  return isReady(life) || (now.phase === 'running' && now.stop?.isTold === false);
}

export function hasEnded({ now }: TaskLife): boolean {
  return now.phase === 'ended';
}

/** When the task wants a `wake`, by the monotonic clock; undefined when only an event can change it. */
export function wakeAt({ spec, now }: TaskLife): number | undefined {
  if (now.phase === 'waiting') return now.resumeAt;
  if (now.phase !== 'running') return undefined;
  if (now.stop !== undefined) return now.stop.signalAt;
  const maxRunAt = spec.maxRunMs === undefined ? Number.POSITIVE_INFINITY : now.startedAt + spec.maxRunMs;
  const next = Math.min(maxRunAt, now.health?.nextAt ?? Number.POSITIVE_INFINITY);
  return Number.isFinite(next) ? next : undefined;
}

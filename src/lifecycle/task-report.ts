import { describeExit, type TaskExit } from './task-exit.ts';
import { isReady, type Stop, type TaskLife, type TaskReport, type TaskStep } from './task-life.ts';

const maxMessageLength = 1_024;

export const failedReason = 'REASON_COMMAND_EXECUTOR_FAILED';
/** What it needs could not be put into its directory; as Mesos has it where its fetcher fails. */
export const fetchReason = 'REASON_CONTAINER_LAUNCH_FAILED';
export const healthReason = 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED';
export const maxRunReason = 'REASON_MAX_COMPLETION_TIME_REACHED';
export const limitReasons = {
  memory: 'REASON_CONTAINER_LIMITATION_MEMORY',
  disk: 'REASON_CONTAINER_LIMITATION_DISK',
} as const;
export const killedDuringLaunch = { state: 'TASK_KILLED', reason: 'REASON_TASK_KILLED_DURING_LAUNCH' } as const;

/** The step that reports `status`, with what every status says of the task. */
export function report(life: TaskLife, status: TaskReport): TaskStep {
  const message = status.message === undefined ? {} : { message: status.message.slice(0, maxMessageLength) };
  return { do: 'report', status: { ...status, ...message, restarts: life.restarts, ready: isReady(life) } };
}

/** What is said when we begin to end a run. */
export function stopReport({ cause, message }: Stop, pid: number): TaskReport {
  switch (cause) {
    case 'kill':
      return { state: 'TASK_KILLING', message, pid };
    case 'maxRun':
      return { state: 'TASK_KILLING', reason: maxRunReason, message, pid };
    case 'memory':
    case 'disk':
      return { state: 'TASK_KILLING', reason: limitReasons[cause], message, pid };
    case 'unhealthy':
      return { state: 'TASK_RUNNING', reason: healthReason, message, pid };
    default:
      return cause satisfies never;
  }
}

/** What a status says of the end of a run. */
export function exitFacts(
  exit: TaskExit,
  ranMs: number,
  stop: Stop | undefined,
): Pick<TaskReport, 'exitCode' | 'signal' | 'ranMs'> & { readonly message: string } {
  const said = describeExit(exit);
  return {
    message: stop === undefined ? said : `${stop.message}; ${said}`,
    ranMs,
    ...(exit.kind === 'exited' ? { exitCode: exit.code } : {}),
    ...(exit.kind === 'signaled' ? { signal: exit.signal } : {}),
  };
}

/** What is told of a failure that was not the first. */
export function inARow(message: string, failures: number): string {
  return failures > 1 ? `${message}, failure ${failures} in a row` : message;
}

import { createHash } from 'node:crypto';
import { type FrameworkInfo, hasCapability } from '../../model/framework.ts';
import type { TaskState, TaskStatus } from '../../model/task.ts';

/** Mesos' `TaskStatus` as it is sent. */
export type MesosStatus = Readonly<Record<string, unknown>>;

export type StatusSource = 'SOURCE_MASTER' | 'SOURCE_AGENT' | 'SOURCE_EXECUTOR';

/** The 16 bytes, in base64, by which a framework acknowledges a report. */
export function updateUuid(uuid: string): string {
  const digits = uuid.replaceAll('-', '');
  const bytes = /^[0-9a-f]{32}$/i.test(digits)
    ? Buffer.from(digits, 'hex')
    : createHash('sha256').update(uuid).digest().subarray(0, 16);
  return bytes.toString('base64');
}

/** What a framework that does not know of partitions is told instead. */
export function stateFor(info: FrameworkInfo, state: TaskState): TaskState {
  if (state === 'TASK_KILLING') return hasCapability(info, 'TASK_KILLING_STATE') ? state : 'TASK_RUNNING';
  const isOfPartitions = /^TASK_(DROPPED|UNREACHABLE|GONE|GONE_BY_OPERATOR|UNKNOWN)$/.test(state);
  return isOfPartitions && !hasCapability(info, 'PARTITION_AWARE') ? 'TASK_LOST' : state;
}

/** `uuid` is there where it is to be acknowledged. Clients look into `agent_id` and `executor_id` without asking whether they are there. */
export function toMesosStatus(
  of: { readonly task: string; readonly agent: string },
  status: {
    readonly state: TaskState;
    readonly source: StatusSource;
    readonly reason?: string | undefined;
    readonly message?: string | undefined;
    readonly healthy?: boolean | undefined;
    readonly uuid?: string | undefined;
    /** Milliseconds since 1970. */
    readonly at: number;
  },
): MesosStatus {
  const { state, source, reason, message, healthy, uuid, at } = status;
  return {
    task_id: { value: of.task },
    state,
    ...(message !== undefined && { message }),
    source,
    ...(reason !== undefined && { reason }),
    agent_id: { value: of.agent },
    executor_id: { value: of.task },
    timestamp: at / 1_000,
    ...(uuid !== undefined && { uuid }),
    ...(healthy !== undefined && { healthy }),
  };
}

const byAgent: ReadonlySet<string> = new Set(['REASON_AGENT_RESTARTED', 'REASON_TASK_KILLED_DURING_LAUNCH']);

/** Whose word a report is: the part of the agent that watches a process is Mesos' command executor. */
export function sourceOf({ reason }: Pick<TaskStatus, 'reason'>): StatusSource {
  if (reason === 'REASON_AGENT_REMOVED_BY_OPERATOR') return 'SOURCE_MASTER';
  return reason !== undefined && byAgent.has(reason) ? 'SOURCE_AGENT' : 'SOURCE_EXECUTOR';
}

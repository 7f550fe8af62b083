import type { Clock } from '../../base/clock.ts';
import { messageOf } from '../../base/errors.ts';
import type { Log } from '../../base/log.ts';
import { hasCapability } from '../../model/framework.ts';
import type { TaskStatus } from '../../model/task.ts';
import type { PendingUpdate } from '../../store/frameworks.ts';
import type { Store } from '../../store/store.ts';
import type { TaskRecord } from '../../store/task-record.ts';
import { mesosTimes } from './bounds.ts';
import type { Framework } from './framework.ts';
import { type MesosStatus, sourceOf, stateFor, toMesosStatus, updateUuid } from './task-status.ts';

/** Tells frameworks what became of their tasks: report by report, the next one of a task when the one before is acknowledged. */
export interface Updates {
  /** A report on a task was written. */
  onRecorded(task: TaskRecord): void;
  /** Says all again that a framework has not acknowledged: it has just subscribed. */
  resume(framework: Framework): Promise<void>;
  /** What is not the report that it was told last says nothing. */
  acknowledge(framework: Framework, task: string, uuid: string): Promise<void>;
  /** Is the framework yet to acknowledge a report on the task? */
  isPending(framework: Framework, task: string): boolean;
  /** Repeats what is due. */
  sweep(): void;
  /** Forgets what a framework that is away was told. */
  drop(framework: Framework): void;
}

interface Told extends PendingUpdate {
  readonly task: TaskRecord;
  readonly uuid: string;
  times: number;
  /** On the monotonic clock. */
  repeatAt: number;
}

export function makeUpdates(parts: {
  readonly store: Store;
  readonly frameworks: { get(id: string): Framework | undefined };
  readonly clock: Clock;
  readonly log: Log;
}): Updates {
  const { store, frameworks, clock, log } = parts;
  /** By framework, then by task: what was told and is not acknowledged. */
  const told = new Map<string, Map<string, Told>>();
  /** Tasks with something new, by framework; as long as there is an entry, somebody looks after it. */
  const waiting = new Map<string, Set<string>>();
  const failed = new Map<string, Framework>();

  function toldTo(framework: string): Map<string, Told> {
    const tasks = told.get(framework) ?? new Map<string, Told>();
    told.set(framework, tasks);
    return tasks;
  }

  function say({ stream, info }: Framework, { task, status, uuid }: Told): void {
    stream?.send({ type: 'UPDATE', update: { status: toUpdate({ info }, task, status, uuid) } });
  }

  /** Tells the next report of a task, where there is one and the one before is acknowledged. */
  async function tell(framework: Framework, id: string): Promise<void> {
    const { stream } = framework;
    for (;;) {
      if (stream === undefined || framework.stream !== stream || told.get(framework.id)?.has(id)) return;
      const [next, task] = [await store.frameworks.nextUpdate(id), await store.tasks.get(id)];
      if (next === undefined || task === undefined || framework.stream !== stream) return;
      if (isTold(framework, next.status)) {
        const { uuid } = next.status;
        const repeatAt = clock.monotonic() + mesosTimes.updateRetryMs;
        const update: Told = { ...next, task, uuid: updateUuid(uuid), times: 1, repeatAt };
        toldTo(framework.id).set(id, update);
        say(framework, update);
        return;
      }
      await store.frameworks.acknowledge(id, next.position);
    }
  }

  /** One task after the other; what comes meanwhile is done too. What cannot be read is tried again with the next sweep. */
  async function work(framework: Framework, tasks: Set<string>): Promise<void> {
    for (const task of tasks) {
      tasks.delete(task);
      try {
        await tell(framework, task);
      } catch (error) {
        log.error('a status update could not be read', { framework: framework.id, task, reason: messageOf(error) });
        failed.set(task, framework);
      }
    }
    waiting.delete(framework.id);
  }

  function wake(framework: Framework, task: string): void {
    if (framework.stream === undefined) return;
    const present = waiting.get(framework.id);
    if (present !== undefined) {
      present.add(task);
      return;
    }
    const tasks = new Set([task]);
    waiting.set(framework.id, tasks);
    void work(framework, tasks);
  }

  return {
    onRecorded(task) {
      const framework = task.framework === null ? undefined : frameworks.get(task.framework);
      if (framework !== undefined) wake(framework, task.id);
    },
    async resume(framework) {
      for (const task of await store.frameworks.unacknowledged(framework.id)) wake(framework, task);
    },
    async acknowledge(framework, name, uuid) {
      const id = (await store.tasks.ofFramework(framework.id, name))?.id ?? '';
      const update = told.get(framework.id)?.get(id);
      if (update === undefined || !sameUuid(update.uuid, uuid)) return;
      await store.frameworks.acknowledge(id, update.position);
      told.get(framework.id)?.delete(id);
      wake(framework, id);
    },
    isPending: (framework, task) => told.get(framework.id)?.has(task) === true,
    sweep() {
      const now = clock.monotonic();
      const again = [...failed];
      failed.clear();
      for (const [task, framework] of again) wake(framework, task);
      for (const [id, tasks] of told) {
        const framework = frameworks.get(id);
        if (framework === undefined) told.delete(id);
        else for (const update of tasks.values()) if (update.repeatAt <= now) repeat(framework, update, now);
      }
    },
    drop: framework => void told.delete(framework.id),
  };

  function repeat(framework: Framework, update: Told, now: number): void {
    const waitMs = Math.min(mesosTimes.updateRetryMs * 2 ** update.times, mesosTimes.maxUpdateRetryMs);
    update.times++;
    update.repeatAt = now + waitMs;
    say(framework, update);
  }
}

/** A state that it does not know of is left out: the one behind it follows. */
function isTold({ info }: Framework, { state }: TaskStatus): boolean {
  return state !== 'TASK_KILLING' || hasCapability(info, 'TASK_KILLING_STATE');
}

/** A report of a node as its framework is told; without `uuid` it is an answer that nobody acknowledges. */
export function toUpdate(
  { info }: Pick<Framework, 'info'>,
  task: TaskRecord,
  status: TaskStatus,
  uuid?: string,
): MesosStatus {
  const isChecked = task.spec?.health !== undefined;
  return toMesosStatus(
    { task: task.frameworkTask ?? task.id, agent: task.node ?? '' },
    {
      state: stateFor(info, status.state),
      source: sourceOf(status),
      reason: status.reason,
      message: status.message,
      healthy: healthOf(status, isChecked),
      uuid,
      at: status.at,
    },
  );
}

/** Said once it is known: a task is called ready when its check has passed, and ended by its agent when it fails for good. */
function healthOf({ state, ready, reason }: TaskStatus, isChecked: boolean): boolean | undefined {
  if (!isChecked) return undefined;
  if (state === 'TASK_FAILED' && reason === 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED') return false;
  return state === 'TASK_RUNNING' && ready === true ? true : undefined;
}

function sameUuid(a: string, b: string): boolean {
  return Buffer.from(a, 'base64').equals(Buffer.from(b, 'base64'));
}

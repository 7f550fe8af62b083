import type { Clock } from '../../base/clock.ts';
import type { TaskStatus } from '../../model/task.ts';
import type { TaskRecord } from '../../store/task-record.ts';
import { mesosBounds, mesosTimes } from './bounds.ts';
import type { EventStream } from './event-stream.ts';
import { allState, type Operator } from './operator.ts';
import { frameworkOf, type SeenFramework, type SeenNode, toAgent, toFramework, toTask } from './operator-views.ts';
import { sourceOf, toMesosStatus } from './task-status.ts';

/** Tells those who subscribed to the operator API what happens. */
export interface OperatorEvents {
  readonly isFull: boolean;
  readonly isHeard: boolean;
  /** Says at first how all stands; what happens meanwhile comes after it. */
  subscribe(stream: EventStream): Promise<void>;
  leave(stream: EventStream): void;
  onPlaced(task: TaskRecord): void;
  onRecorded(task: TaskRecord, status: TaskStatus): void;
  onAgent(node: SeenNode, isNew: boolean): void;
  onFramework(what: 'FRAMEWORK_ADDED' | 'FRAMEWORK_UPDATED' | 'FRAMEWORK_REMOVED', framework: SeenFramework): void;
  /** Says a heartbeat where it is due. */
  sweep(): void;
}

export function makeOperatorEvents(parts: {
  readonly operator: Pick<Operator, 'snapshot'>;
  readonly clock: Clock;
}): OperatorEvents {
  const { operator, clock } = parts;
  /** What each is yet to be told once it knows how all stands; undefined when it does. */
  const subscribers = new Map<EventStream, object[] | undefined>();
  let heartbeatAt = 0;

  function say(make: () => object): void {
    if (subscribers.size === 0) return;
    const event = make();
    for (const [stream, held] of subscribers) {
      if (held === undefined) stream.send(event);
      else held.push(event);
    }
  }

  return {
    get isFull() {
      return subscribers.size >= mesosBounds.operatorStreams;
    },
    get isHeard() {
      return subscribers.size > 0;
    },
    async subscribe(stream) {
      const held: object[] = [];
      subscribers.set(stream, held);
      const get_state = allState(await operator.snapshot());
      if (!subscribers.has(stream)) return;
      const heartbeat_interval_seconds = mesosTimes.heartbeatMs / 1_000;
      stream.send({ type: 'SUBSCRIBED', subscribed: { get_state, heartbeat_interval_seconds } });
      subscribers.set(stream, undefined);
      for (const event of held) stream.send(event);
    },
    leave: stream => void subscribers.delete(stream),
    onPlaced: task => say(() => ({ type: 'TASK_ADDED', task_added: { task: toTask(task) } })),
    onRecorded(task, status) {
      const { state, reason, message, at } = status;
      say(() => ({
        type: 'TASK_UPDATED',
        task_updated: {
          framework_id: { value: frameworkOf(task) },
          status: toMesosStatus(
            { task: task.frameworkTask ?? task.id, agent: task.node ?? '' },
            { state, source: sourceOf(status), reason, message, at },
          ),
          state,
        },
      }));
    },
    onAgent: (node, isNew) =>
      say(() =>
        isNew
          ? { type: 'AGENT_ADDED', agent_added: { agent: toAgent(node) } }
          : { type: 'AGENT_REMOVED', agent_removed: { agent_id: { value: node.id } } },
      ),
    onFramework: (type, framework) =>
      say(() => {
        const told =
          type === 'FRAMEWORK_REMOVED'
            ? { framework_info: { ...framework.info, id: { value: framework.id } } }
            : { framework: toFramework(framework, []) };
        return { type, [type.toLowerCase()]: told };
      }),
    sweep() {
      const now = clock.monotonic();
      if (now < heartbeatAt) return;
      heartbeatAt = now + mesosTimes.heartbeatMs;
      say(() => ({ type: 'HEARTBEAT' }));
    },
  };
}

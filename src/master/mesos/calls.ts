import * as v from 'valibot';
import { decodeJson } from '../../base/shape.ts';
import { frameworkInfoSchema } from '../../model/framework.ts';
import { mesosBounds } from './bounds.ts';

// The calls of Mesos' v1 scheduler API. Clients send more than is read here, and `null` for all that they do not set: what is not known
// is ignored, and null is as good as absent.

const idSchema = v.object({ value: v.pipe(v.string(), v.minLength(1), v.maxLength(255)) });
const roleList = v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(255))), v.maxLength(64)), []);
const offerIds = v.pipe(v.array(idSchema), v.maxLength(10_000));
const filtersSchema = v.object({ refuse_seconds: v.optional(v.number()) });
const data = v.optional(v.pipe(v.string(), v.maxLength(1024 * 1024)));

/** TaskInfo is read later, task by task: a bad one is an update of that task, not the end of the call. */
const launchSchema = v.object({ task_infos: v.optional(v.array(v.unknown()), []) });
const operationSchema = v.object({
  type: v.pipe(v.string(), v.maxLength(64)),
  launch: v.optional(launchSchema),
  launch_group: v.optional(
    v.object({
      executor: v.optional(v.unknown()),
      task_group: v.object({ tasks: v.optional(v.array(v.unknown()), []) }),
    }),
  ),
});

const shared = { framework_id: v.optional(idSchema) };
const call = <const T extends string, E extends v.ObjectEntries>(type: T, entries: E) =>
  v.object({ type: v.literal(type), ...shared, ...entries });
const roles = v.optional(v.object({ role: v.optional(v.string()), roles: roleList }));

const schedulerCallSchema = v.variant('type', [
  call('SUBSCRIBE', {
    subscribe: v.object({ framework_info: frameworkInfoSchema, suppressed_roles: roleList }),
  }),
  call('TEARDOWN', {}),
  call('ACCEPT', {
    accept: v.object({
      offer_ids: offerIds,
      operations: v.optional(v.pipe(v.array(operationSchema), v.maxLength(1_000)), []),
      filters: v.optional(filtersSchema),
    }),
  }),
  call('DECLINE', { decline: v.object({ offer_ids: offerIds, filters: v.optional(filtersSchema) }) }),
  call('REVIVE', { revive: roles }),
  call('SUPPRESS', { suppress: roles }),
  call('KILL', { kill: v.object({ task_id: idSchema, agent_id: v.optional(idSchema) }) }),
  call('SHUTDOWN', { shutdown: v.object({ executor_id: idSchema, agent_id: idSchema }) }),
  call('ACKNOWLEDGE', {
    acknowledge: v.object({
      agent_id: idSchema,
      task_id: idSchema,
      uuid: v.pipe(
        v.string(),
        v.check(text => isUuid(text), 'expected the uuid of the update, 16 bytes in base64'),
      ),
    }),
  }),
  call('RECONCILE', {
    reconcile: v.object({
      tasks: v.optional(
        v.pipe(
          v.array(v.object({ task_id: idSchema, agent_id: v.optional(idSchema) })),
          v.maxLength(mesosBounds.perCall),
        ),
        [],
      ),
    }),
  }),
  call('MESSAGE', { message: v.object({ agent_id: idSchema, executor_id: idSchema, data }) }),
  call('REQUEST', { request: v.optional(v.unknown()) }),
  call('UPDATE_FRAMEWORK', {
    update_framework: v.object({ framework_info: frameworkInfoSchema, suppressed_roles: roleList }),
  }),
  call('ACCEPT_INVERSE_OFFERS', {}),
  call('DECLINE_INVERSE_OFFERS', {}),
  call('ACKNOWLEDGE_OPERATION_STATUS', {}),
  call('RECONCILE_OPERATIONS', {}),
  call('UNKNOWN', {}),
]);

export type SchedulerCall = v.InferOutput<typeof schedulerCallSchema>;
export type CallOf<T extends SchedulerCall['type']> = Extract<SchedulerCall, { readonly type: T }>;
export type Operation = v.InferOutput<typeof operationSchema>;

const readCall = v.pipe(v.unknown(), v.transform(withoutNulls), schedulerCallSchema);

/** Reads a call; throws INVALID_INPUT or TOO_LARGE. */
export function decodeCall(body: Uint8Array, maxBytes: number): SchedulerCall {
  return decodeJson(readCall, body, 'scheduler call', { maxBytes, maxDepth: 32 });
}

/** The depth of `value` is bounded. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([name, child]) => (child === null ? [] : [[name, withoutNulls(child)]])),
  );
}

function isUuid(text: string): boolean {
  return /^[A-Za-z0-9+/]{22}(==)?$/.test(text);
}

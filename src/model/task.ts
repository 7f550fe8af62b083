import * as v from 'valibot';
import { artifactBounds, taskArtifactSchema } from './artifact.ts';
import { nameSchema, serviceNameSchema, taskIdSchema } from './ids.ts';
import { capabilitySchema, portNeedSchema, userSchema } from './job.ts';
import { resourcesSchema } from './resources.ts';
import { sealedSecretsSchema } from './secret.ts';

/** Mesos' task states. */
export const taskStates = [
  'TASK_STAGING',
  'TASK_STARTING',
  'TASK_RUNNING',
  'TASK_KILLING',
  'TASK_FINISHED',
  'TASK_FAILED',
  'TASK_KILLED',
  'TASK_ERROR',
  'TASK_LOST',
  'TASK_DROPPED',
  'TASK_UNREACHABLE',
  'TASK_GONE',
  'TASK_GONE_BY_OPERATOR',
  'TASK_UNKNOWN',
] as const;

export type TaskState = (typeof taskStates)[number];

const terminalStates: ReadonlySet<TaskState> = new Set([
  'TASK_FINISHED',
  'TASK_FAILED',
  'TASK_KILLED',
  'TASK_ERROR',
  'TASK_LOST',
  'TASK_DROPPED',
  'TASK_GONE',
  'TASK_GONE_BY_OPERATOR',
]);

/** After a terminal state nothing more happens to a task, and its resources are free. */
export function isTerminal(state: TaskState): boolean {
  return terminalStates.has(state);
}

/** The states in which a task may yet change. */
export const liveStates: readonly TaskState[] = taskStates.filter(state => !isTerminal(state));

const amount = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const durationMs = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

/** One task as the master assigns it and the agent runs it: everything is decided, nothing is left to look up. */
export const taskSpecSchema = v.strictObject({
  id: taskIdSchema,
  job: nameSchema,
  namespace: nameSchema,
  labels: v.record(v.string(), v.string()),
  type: v.picklist(['service', 'batch']),
  command: v.pipe(v.array(v.string()), v.minLength(1)),
  env: v.record(v.string(), v.string()),
  /** Reserved for the task on its node, the allocated ports among them. */
  resources: resourcesSchema,
  /**
   * What it is held to: `cpus` and memory in the units of `resources`; what is absent is not limited, but for `pids` by the agent.
   * One that only a newer master knows is kept, since the hash of the whole counts it.
   */
  limits: v.optional(v.partial(v.looseObject({ cpus: amount, mem: amount, memHigh: amount, pids: amount }))),
  user: v.optional(userSchema),
  capabilities: v.optional(v.array(capabilitySchema)),
  /** The job's ports with the numbers that were allocated, in the job's order. */
  ports: v.array(v.strictObject({ ...portNeedSchema.entries, number: port })),
  /** The service that this task is an endpoint of. */
  service: v.optional(v.strictObject({ name: nameSchema, port: nameSchema })),
  upstreams: v.array(serviceNameSchema),
  /** Ports on loopback that lead to an upstream, with this task as the caller. */
  localPorts: v.optional(v.pipe(v.array(v.strictObject({ service: serviceNameSchema, port })), v.maxLength(64))),
  /** What is put into its directory before its first run. */
  artifacts: v.optional(v.pipe(v.array(taskArtifactSchema), v.maxLength(artifactBounds.ofTask))),
  serviceAccount: nameSchema,
  secrets: v.optional(sealedSecretsSchema),
  /** It gets the certificate of its service account as files. */
  identity: v.optional(v.boolean()),
  killGraceMs: durationMs,
  /** Between the word that it may not be called any more and SIGTERM, when the master wants it to end. */
  shutdownDelayMs: v.optional(durationMs),
  maxRunMs: v.optional(durationMs),
  restart: v.strictObject({
    policy: v.picklist(['always', 'onFailure', 'never']),
    attempts: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
    backoffMs: durationMs,
    maxBackoffMs: durationMs,
    resetAfterMs: durationMs,
  }),
  health: v.optional(
    v.strictObject({
      type: v.picklist(['http', 'tcp', 'exec']),
      port: v.optional(nameSchema),
      command: v.optional(v.pipe(v.array(v.string()), v.minLength(1))),
      path: v.string(),
      intervalMs: durationMs,
      timeoutMs: durationMs,
      initialDelayMs: durationMs,
      gracePeriodMs: v.optional(durationMs),
      threshold: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
    }),
  ),
});

export type TaskSpec = v.InferOutput<typeof taskSpecSchema>;

/** How far a task is, by its own word. */
export const progressSchema = v.object({
  percent: v.pipe(v.number(), v.minValue(0), v.maxValue(100)),
  message: v.optional(v.pipe(v.string(), v.maxLength(160))),
});

export type Progress = v.InferOutput<typeof progressSchema>;

/** One report on a task; `uuid` names the report, and the agent repeats it until the master acknowledges that uuid. */
export const taskStatusSchema = v.object({
  uuid: v.pipe(v.string(), v.maxLength(64)),
  task: taskIdSchema,
  state: v.picklist(taskStates),
  /** Mesos' `REASON_…`, where one fits. */
  reason: v.optional(v.pipe(v.string(), v.maxLength(64))),
  message: v.optional(v.pipe(v.string(), v.maxLength(1024))),
  exitCode: v.optional(v.number()),
  /** The name of the signal that ended it, as SIGKILL. */
  signal: v.optional(v.pipe(v.string(), v.maxLength(16))),
  pid: v.optional(v.number()),
  /** How often the agent has started it again. */
  restarts: v.optional(v.number()),
  /** May it be called through the mesh? False until its health check passes. */
  ready: v.optional(v.boolean()),
  /** Milliseconds since 1970 by the node's clock, and how long the last run took by its monotonic one. */
  at: v.number(),
  ranMs: v.optional(v.number()),
  progress: v.optional(progressSchema),
});

export type TaskStatus = v.InferOutput<typeof taskStatusSchema>;

/** The key under which the mesh knows one task as an endpoint: the SNI its node's inbound proxy is asked for. */
export function endpointName(spec: Pick<TaskSpec, 'id' | 'service' | 'namespace'>): string | undefined {
  if (spec.service === undefined) return undefined;
  const suffix = spec.id.slice(spec.id.lastIndexOf('.') + 1).toLowerCase();
  return `${suffix}.${spec.service.name}.${spec.namespace}.mesh`;
}

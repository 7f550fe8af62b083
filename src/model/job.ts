import * as v from 'valibot';
import { minuteMs, secondMs } from '../base/clock.ts';
import { unsupported } from '../base/shape.ts';
import { artifactsSchema } from './artifact.ts';
import { count, durationSchema } from './duration.ts';
import { nameSchema, serviceNameSchema } from './ids.ts';
import { periodicSchema, updateSchema } from './job-life.ts';
import { limitsSchema } from './limits.ts';
import { customResourcesSchema } from './resources.ts';
import { roleNameSchema } from './role.ts';
import { jobSecretsSchema } from './secret.ts';
import { findCycle } from './start-order.ts';
import { templateProblem } from './task-template.ts';

const amount = (max: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(0, 'expected 0 or more'), v.maxValue(max, `expected at most ${max}`));
const aPort = 'expected a port of 1 to 65535';
const portNumber = v.pipe(v.number(), v.integer(), v.minValue(1, aPort), v.maxValue(65_535, aPort));

const environmentSchema = v.pipe(
  v.record(
    v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'expected the name of an environment variable')),
    v.pipe(v.string(), v.maxLength(32_768)),
  ),
  v.check(env => Object.keys(env).length <= 256, 'expected at most 256 variables'),
);

const noContainers = 'no containers are run, only processes: give command, and its files as artifacts';

/** What those write who come from Docker, Kubernetes or Nomad. */
const habits = {
  image: unsupported(noContainers),
  container: unsupported(noContainers),
  containers: unsupported(noContainers),
  template: unsupported('write what a task is in spec itself'),
  replicas: unsupported('write instances'),
  count: unsupported('write instances'),
  args: unsupported('write them behind the program, in command'),
  environment: unsupported('write env'),
  volumes: unsupported('a task sees the files of its node; what it is to have comes with artifacts'),
  schedule: unsupported('write type: periodic, and periodic.cron'),
  restartPolicy: unsupported('write restart.policy'),
  dependsOn: unsupported('write after'),
  livenessProbe: unsupported('write health'),
  readinessProbe: unsupported('write health'),
  nodeSelector: unsupported('write constraints'),
};

/** What is counted for a task that does not say what memory it needs, in MB. */
export const unknownMemMb = 32;

/** What one task needs: cores, MB of memory and of disk, and what nodes have of their own; ports are asked for in `ports`. */
export const needsSchema = v.strictObject({
  cpus: v.optional(amount(1024), 0.1),
  // no default: nobody is held to what he did not say
  mem: v.optional(amount(4_194_304)),
  disk: v.optional(amount(1_073_741_824), 0),
  memory: unsupported('write mem, in MB'),
  requests: unsupported('write what a task needs in resources itself, and what it is held to in limits'),
  limits: unsupported('write limits beside resources'),
  ...customResourcesSchema.entries,
});

export const userSchema = v.pipe(
  v.string(),
  v.regex(/^(?:[a-z_][a-z0-9_-]{0,31}|\d{1,9})$/, 'expected the name of a user, or a number'),
);
/** As in capabilities(7), without `CAP_`. */
export const capabilitySchema = v.pipe(v.string(), v.regex(/^[A-Z][A-Z_]{1,31}$/, 'expected a capability as NET_RAW'));

/**
 * What is spoken behind a port: `http` is HTTP/1.1, `http2` HTTP/2 with prior knowledge (h2c) and `grpc` gRPC over it; these
 * get the mesh's HTTP policy, `tcp` only its connection policy.
 */
export const portProtocols = ['http', 'http2', 'grpc', 'tcp'] as const;
export type PortProtocol = (typeof portProtocols)[number];

export const portNeedSchema = v.strictObject({
  name: nameSchema,
  protocol: v.optional(v.picklist(portProtocols), 'http'),
  /** The port of the node on which the proxy takes clients from outside of the mesh for it. */
  publish: v.optional(portNumber),
});

const upstreamSchema = v.union(
  [
    serviceNameSchema,
    v.strictObject({
      service: serviceNameSchema,
      /** A port on the node's loopback that leads to the service, with the task as the caller; `auto` takes one of the node's. */
      localPort: v.optional(v.union([portNumber, v.literal('auto')], `${aPort}, or auto`)),
    }),
  ],
  issue =>
    typeof issue.input === 'object'
      ? 'expected {service: <service>, localPort: auto or a port}, and nothing else'
      : `expected <service> or <service>.<namespace>, got ${JSON.stringify(issue.input)?.slice(0, 80)}`,
);

const attributeName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,252}$/, 'expected an attribute name'));
const constraintSchema = v.strictObject({
  /** A node attribute or label: `arch`, `node`, `profile`, or one that the operator set. */
  attribute: attributeName,
  operator: v.picklist(['in', 'notIn', 'exists', 'doesNotExist']),
  values: v.optional(v.pipe(v.array(v.string()), v.maxLength(64)), []),
});
/** A wish: nodes where it holds are taken first (or last, where the weight is below 0). */
const affinitySchema = v.strictObject({
  ...constraintSchema.entries,
  weight: v.optional(
    v.pipe(v.number(), v.integer(), v.minValue(-100, 'expected -100 to 100'), v.maxValue(100, 'expected -100 to 100')),
    50,
  ),
});
const jobNames = v.optional(v.pipe(v.array(nameSchema), v.maxLength(32)));

const restartSchema = v.strictObject({
  policy: v.optional(v.picklist(['always', 'onFailure', 'never'])),
  /** After this many failures in a row the task is TASK_FAILED, 10 of a batch; a service is never given up unless it says so. A run of `resetAfter` clears the count. */
  attempts: v.optional(count(0, 1_000_000)),
  backoff: v.optional(durationSchema, '1s'),
  maxBackoff: v.optional(durationSchema, '1m'),
  resetAfter: v.optional(durationSchema, '10s'),
});

const healthCheckSchema = v.strictObject({
  type: v.picklist(['http', 'tcp', 'exec']),
  /** For `http` and `tcp`. */
  port: v.optional(nameSchema),
  /** For `exec`: run where the task runs, with its environment; exit code 0 is well. */
  command: v.optional(v.pipe(v.array(v.pipe(v.string(), v.maxLength(4096))), v.minLength(1), v.maxLength(64))),
  path: v.optional(v.pipe(v.string(), v.regex(/^\/[\x21-\x7e]{0,1023}$/, 'expected a path that starts with "/"')), '/'),
  interval: v.optional(durationSchema, '10s'),
  timeout: v.optional(durationSchema, '2s'),
  initialDelay: v.optional(durationSchema, '0s'),
  /** From the start: what fails so long before the first success does not count. */
  gracePeriod: v.optional(durationSchema),
  /** So many failures in a row make an unhealthy task. */
  threshold: v.optional(count(1, 100), 3),
});

/** `system` is a service with one task on each node that its constraints allow, `periodic` a batch that runs again and again. */
export const jobTypes = ['service', 'batch', 'system', 'periodic'] as const;

const serviceSchema = v.strictObject({
  /** The name in the mesh; the job's own name when left out. */
  name: v.optional(nameSchema),
  port: nameSchema,
});

const commandSchema = v.pipe(
  v.array(
    v.pipe(v.string('expected text: put it in quotes'), v.maxLength(32_768)),
    'expected a list, as [python3, server.py]; what a shell is to read is [sh, -c, "…"]',
  ),
  v.minLength(1),
  v.maxLength(256),
);

/** One task of a batch job: what it does not say is taken from the job. */
const batchTaskSchema = v.strictObject({
  name: nameSchema,
  command: v.optional(commandSchema),
  env: v.optional(environmentSchema),
  resources: v.optional(needsSchema),
  priority: v.optional(count(0, 100)),
  expectedDuration: v.optional(durationSchema),
  /** Tasks of the job that have to finish before it. */
  after: jobNames,
});

/** A job as an operator writes it: one program, how many of it, what it needs, and how it is seen in the mesh. */
export const jobSpecSchema = v.pipe(
  v.strictObject({
    ...habits,
    type: v.optional(v.picklist(jobTypes), 'service'),
    /** Larger is sooner. */
    priority: v.optional(count(0, 100), 50),
    instances: v.optional(count(0, 10_000), 1),
    command: v.optional(commandSchema),
    env: v.optional(environmentSchema, {}),
    resources: v.optional(needsSchema, {}),
    ports: v.optional(v.pipe(v.array(portNeedSchema), v.maxLength(32)), []),
    service: v.optional(serviceSchema),
    /** Services of the mesh that the tasks call; nothing else is reachable through the mesh. */
    upstreams: v.optional(v.pipe(v.array(upstreamSchema), v.maxLength(64)), []),
    /** The identity of the tasks in the mesh: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`. */
    serviceAccount: v.optional(nameSchema, 'default'),
    /** `completionTime` places for the earliest end, `spread` over nodes, `binpack` on few. */
    placement: v.optional(v.picklist(['completionTime', 'spread', 'binpack'])),
    constraints: v.optional(v.pipe(v.array(constraintSchema), v.maxLength(32)), []),
    // what came later has no default here: it would make another template of each job that is there already
    /** Mesos' role that its tasks count for; `*` when left out. */
    role: v.optional(roleNameSchema),
    artifacts: v.optional(artifactsSchema),
    affinities: v.optional(v.pipe(v.array(affinitySchema), v.maxLength(32))),
    /** A label of the nodes over whose values the tasks are spread first, as `zone`. */
    spreadOver: v.optional(attributeName),
    maxPerNode: v.optional(count(1, 10_000)),
    /** Jobs of the namespace that it never shares a node with, and those that have to be on the node before it. */
    apartFrom: jobNames,
    togetherWith: jobNames,
    /** Its tasks are started elsewhere when their node has not been heard for so long; never when left out. */
    rescheduleAfter: v.optional(durationSchema),
    limits: v.optional(limitsSchema),
    /** As whom its tasks run where the agent is root: a name of the node, or a number. */
    user: v.optional(userSchema),
    /** Rights of root that its tasks have all the same. */
    capabilities: v.optional(v.pipe(v.array(capabilitySchema), v.maxLength(41))),
    /** Where its tasks have no place, tasks of a lower priority are ended for them. */
    preempts: v.optional(v.boolean()),
    /** False: its own tasks are never ended for others. */
    preemptible: v.optional(v.boolean()),
    expectedDuration: v.optional(durationSchema),
    maxRunTime: v.optional(durationSchema),
    killGrace: v.optional(durationSchema, '5s'),
    restart: v.optional(restartSchema, {}),
    health: v.optional(healthCheckSchema),
    /** Of its namespace, by `mesolite secret put`. */
    secrets: v.optional(jobSecretsSchema),
    /** Its tasks get the certificate and key of their service account as files: with them they can call past the proxy. */
    identity: v.optional(v.boolean()),
    tasks: v.optional(v.pipe(v.array(batchTaskSchema), v.maxLength(10_000))),
    periodic: v.optional(periodicSchema),
    update: v.optional(updateSchema),
    /** From the moment that callers are told that a task goes, to SIGTERM. */
    shutdownDelay: v.optional(durationSchema),
    /** Jobs of the namespace: before its tasks start, those that are batches have finished and the others are ready. */
    after: jobNames,
  }),
  v.check(
    job => job.tasks === undefined || taskTypeOf(job) === 'batch',
    'tasks: only a batch or a periodic job has a list of tasks',
  ),
  v.check(
    job => (job.periodic !== undefined) === (job.type === 'periodic'),
    'periodic: required for a job of type periodic, and for no other',
  ),
  v.check(job => job.update === undefined || job.type === 'service', 'update: only for a job of type service'),
  v.check(
    job => job.shutdownDelay === undefined || job.service !== undefined,
    'shutdownDelay: only for a job with a service, since nobody else is called',
  ),
  v.check(
    job => job.type !== 'system' || job.rescheduleAfter === undefined,
    'rescheduleAfter: a task of a system job belongs to its node, and cannot go elsewhere',
  ),
  v.rawCheck(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const message = orderProblem(dataset.value.tasks ?? []) ?? envProblem(dataset.value);
    if (message !== undefined) addIssue({ message });
  }),
  v.check(
    job => job.command !== undefined || job.tasks?.every(task => task.command !== undefined) === true,
    'command: required, but missing',
  ),
  v.check(
    job => job.tasks === undefined || isDistinct(job.tasks.map(task => task.name)),
    'tasks: two tasks have the same name',
  ),
  v.check(job => isDistinct(job.ports.map(port => port.name)), 'ports: two ports have the same name'),
  v.check(
    job => isDistinct(job.upstreams.map(upstream => variableName(upstreamOf(upstream).service))),
    'upstreams: two lead to the same service, or differ in "-" and "." alone',
  ),
  v.check(job => isDistinct(nodePortsOf(job)), 'two ports or upstreams ask for the same port of the node'),
  v.check(
    job => job.service === undefined || job.ports.some(port => port.name === job.service?.port),
    'service.port: not one of the job’s ports',
  ),
  v.check(
    ({ health, ports }) => !health || health.type === 'exec' || ports.some(port => port.name === health.port),
    'health.port: not one of the job’s ports',
  ),
  v.check(
    ({ health }) => (health?.type === 'exec') === (health?.command !== undefined),
    'health.command: required for a check of type exec, and for no other',
  ),
  v.check(
    job => job.health?.type !== 'http' || job.ports.find(port => port.name === job.health?.port)?.protocol !== 'grpc',
    'health.type: expected tcp, since a server of gRPC does not answer HTTP/1.1',
  ),
);

export type JobSpec = v.InferOutput<typeof jobSpecSchema>;
/** What its tasks are to those who place and run them. */
export type TaskType = 'service' | 'batch';
export type Needs = v.InferOutput<typeof needsSchema>;
export type PlacementStrategy = NonNullable<JobSpec['placement']>;
export type Constraint = JobSpec['constraints'][number];
export type Affinity = NonNullable<JobSpec['affinities']>[number];

/** Where no duration is known at all, this is what the scheduler reckons with. */
export const unknownDurationMs = { service: 10 * minuteMs, batch: 30 * secondMs } as const;

/** An upstream as its job writes it. */
export type Upstream = v.InferOutput<typeof upstreamSchema>;

/** An upstream in its long form. */
export function upstreamOf(upstream: Upstream): Exclude<Upstream, string> {
  return typeof upstream === 'string' ? { service: upstream } : upstream;
}

/** The `<NAME>` of an upstream or a port in the environment of a task. */
export function variableName(name: string): string {
  return name.toUpperCase().replace(/[-.]/g, '_');
}

/** The ports of its node that each task of a job asks for by number. */
export function nodePortsOf({
  ports,
  upstreams,
}: {
  readonly ports: readonly { readonly publish?: number | undefined }[];
  readonly upstreams: readonly Upstream[];
}): number[] {
  const published = ports.flatMap(({ publish }) => publish ?? []);
  const local = upstreams.map(upstream => upstreamOf(upstream).localPort);
  return [...published, ...local.filter(port => typeof port === 'number')];
}

/** A system job's tasks run on, a periodic one's come to an end. */
export function taskTypeOf({ type }: { readonly type: (typeof jobTypes)[number] }): TaskType {
  return type === 'service' || type === 'system' ? 'service' : 'batch';
}

function orderProblem(tasks: readonly { readonly name: string; readonly after?: readonly string[] | undefined }[]) {
  const names = new Set(tasks.map(({ name }) => name));
  for (const { name, after = [] } of tasks) {
    const unknown = after.find(other => !names.has(other));
    if (unknown !== undefined) return `tasks: ${name} is to come after ${unknown}, which is not one of them`;
  }
  const cycle = findCycle(new Map(tasks.map(({ name, after = [] }) => [name, after])));
  return cycle && `tasks: each would wait for the other: ${cycle.join(' → ')}`;
}

interface WithEnv {
  readonly env: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly name: string }[];
  readonly tasks?: readonly { readonly env?: Readonly<Record<string, string>> | undefined }[] | undefined;
}

function envProblem({ env, ports, tasks = [] }: WithEnv): string | undefined {
  for (const each of [{ env }, ...tasks]) {
    const problem = templateProblem(each.env ?? {}, ports);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

function isDistinct(values: readonly (string | number)[]): boolean {
  return new Set(values).size === values.length;
}

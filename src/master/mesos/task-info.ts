import * as v from 'valibot';
import { messageOf } from '../../base/errors.ts';
import { decode } from '../../base/shape.ts';
import { mesosLabelsSchema } from '../../model/framework.ts';
import { portNumbers, type Resources, toMilli } from '../../model/resources.ts';
import type { TaskSpec } from '../../model/task.ts';
import { fromMesosResources, mesosResourceSchema } from './mesos-resources.ts';

const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
const idSchema = v.object({ value: v.pipe(v.string(), v.minLength(1), v.maxLength(255)) });
const port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));
const seconds = v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1e9));
const nanoseconds = v.object({ nanoseconds: v.pipe(v.number(), v.finite(), v.minValue(0), v.maxValue(1e18)) });

const commandSchema = v.object({
  shell: v.optional(v.boolean(), true),
  value: v.optional(text(32_768)),
  arguments: v.optional(v.pipe(v.array(text(32_768)), v.maxLength(256)), []),
  uris: v.optional(v.array(v.unknown()), []),
  environment: v.optional(
    v.object({
      variables: v.optional(
        v.pipe(
          v.array(v.object({ name: text(128), value: v.optional(text(32_768), ''), type: v.optional(v.string()) })),
          v.maxLength(256),
        ),
        [],
      ),
    }),
  ),
});

const healthCheckSchema = v.object({
  type: v.optional(v.string()),
  command: v.optional(commandSchema),
  http: v.optional(v.object({ port, path: v.optional(text(1024), '/'), scheme: v.optional(v.string(), 'http') })),
  tcp: v.optional(v.object({ port })),
  delay_seconds: v.optional(seconds, 15),
  interval_seconds: v.optional(seconds, 10),
  timeout_seconds: v.optional(seconds, 20),
  grace_period_seconds: v.optional(seconds, 10),
  consecutive_failures: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000_000)), 3),
});

const discoverySchema = v.object({
  name: v.optional(text(255)),
  ports: v.optional(
    v.object({
      ports: v.optional(
        v.pipe(
          v.array(v.object({ number: port, name: v.optional(text(63)), protocol: v.optional(text(63)) })),
          v.maxLength(32),
        ),
        [],
      ),
    }),
  ),
});

/** Mesos' `TaskInfo`, as far as a task here can be such. */
const taskInfoSchema = v.object({
  name: text(1024),
  task_id: idSchema,
  agent_id: idSchema,
  resources: v.optional(v.pipe(v.array(mesosResourceSchema), v.maxLength(256)), []),
  /** Of `cpus` and `mem`; `Infinity` is JSON's text for none. */
  limits: v.optional(v.record(text(64), v.object({ value: v.union([v.number(), v.literal('Infinity')]) })), {}),
  command: v.optional(commandSchema),
  executor: v.optional(v.unknown()),
  container: v.optional(v.unknown()),
  health_check: v.optional(healthCheckSchema),
  check: v.optional(v.unknown()),
  kill_policy: v.optional(v.object({ grace_period: v.optional(nanoseconds) })),
  max_completion_time: v.optional(nanoseconds),
  labels: v.optional(mesosLabelsSchema),
  discovery: v.optional(discoverySchema),
});

export type TaskInfo = v.InferOutput<typeof taskInfoSchema>;

/** A task as it was sent, with what it holds; or why it cannot be, with as much of its names as could be read. */
export type ReadTask =
  | { readonly ok: true; readonly info: TaskInfo; readonly resources: Resources }
  | { readonly ok: false; readonly task: string; readonly why: string };

const namesSchema = v.object({ task_id: idSchema });

/** As Mesos' `EXECUTOR_SIGNAL_ESCALATION_TIMEOUT`. */
const killGraceMs = 3_000;

/** Undefined for what has not even an id, of which nobody could be told. */
export function readTaskInfo(sent: unknown): ReadTask | undefined {
  const names = v.safeParse(namesSchema, sent);
  if (!names.success) return undefined;
  const task = names.output.task_id.value;
  const refuse = (why: string) => ({ ok: false, task, why }) as const;
  let info: TaskInfo;
  try {
    info = decode(taskInfoSchema, sent, 'task');
  } catch (error) {
    return refuse(messageOf(error));
  }
  const why = whyNotRun(info);
  if (why !== undefined) return refuse(why);
  const resources = fromMesosResources(info.resources);
  return 'why' in resources ? refuse(resources.why) : { ok: true, info, resources };
}

/** What a task may not have, since it would be left out without a word. */
function whyNotRun({
  task_id: { value: id },
  command,
  executor,
  container,
  check,
  health_check,
  kill_policy: _,
  ...info
}: TaskInfo) {
  if (/[/\\\p{Cc}]/u.test(id) || id === '.' || id === '..')
    return 'task_id: expected no slash and no control character';
  if (executor !== undefined) return 'executor: no executors are run, only commands: put what it does into command';
  if (container !== undefined) return 'container: no containers are run, only processes: leave it out';
  if (command === undefined) return 'command: required, but missing';
  if (command.value === undefined) return 'command.value: required, but missing';
  if (command.uris.length > 0)
    return 'command.uris: nothing is fetched: have the program on the node, or fetch it in the command';
  if (check !== undefined) return 'check: only health_check is carried out';
  const bad = command.environment?.variables.find(({ name }) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name));
  if (bad !== undefined) return `command.environment: "${bad.name}" cannot be the name of a variable`;
  if (command.environment?.variables.some(({ type }) => type === 'SECRET')) {
    return 'command.environment: variables of type SECRET are not supported';
  }
  if (info.resources.length === 0) return 'resources: a task uses at least some cpus or mem';
  return health_check === undefined ? undefined : whyNotChecked(health_check);
}

function whyNotChecked({ http, tcp, command }: NonNullable<TaskInfo['health_check']>): string | undefined {
  if (http === undefined && tcp === undefined && command?.value === undefined)
    return 'health_check: expected http, tcp, or a command with a value';
  if (command?.environment?.variables.length)
    return 'health_check.command.environment: a check has the environment of its task: put it into command.environment';
  if (command?.uris.length) return 'health_check.command.uris: nothing is fetched';
  if (http !== undefined && http.scheme !== 'http') return 'health_check.http.scheme: only http is carried out';
  return undefined;
}

/** Where a task of a framework belongs among the tasks of the master. */
export interface Belonging {
  readonly id: string;
  readonly job: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** What the node is given to run. */
export function toTaskSpec(info: TaskInfo, resources: Resources, own: Belonging): TaskSpec {
  const { command, kill_policy, max_completion_time, labels, health_check } = info;
  const variables = command?.environment?.variables ?? [];
  const { ports, service } = toPorts(info, resources);
  const health = health_check && toHealth(health_check);
  return {
    id: own.id,
    job: own.job,
    namespace: own.namespace,
    labels: {
      ...Object.fromEntries((labels?.labels ?? []).map(({ key, value }) => [key, value ?? ''])),
      app: own.job,
    },
    type: 'service',
    command: toArguments(command),
    env: Object.fromEntries(variables.map(({ name, value }) => [name, value])),
    resources,
    ...limitsOf(resources, info.limits),
    ports,
    ...(service && { service }),
    upstreams: [],
    serviceAccount: own.serviceAccount,
    killGraceMs: kill_policy?.grace_period ? toMs(kill_policy.grace_period) : killGraceMs,
    ...(max_completion_time && { maxRunMs: toMs(max_completion_time) }),
    // what becomes of a task that has ended is for its framework
    restart: { policy: 'never', attempts: 0, backoffMs: 0, maxBackoffMs: 0, resetAfterMs: 0 },
    ...(health && { health }),
  };
}

/** Memory is held to what the task has, processors to what it says; or as far as its `limits` say (Mesos 1.10). */
function limitsOf({ scalars }: Resources, said: TaskInfo['limits']): Pick<TaskSpec, 'limits'> {
  const milli = (name: string, unsaid: number | undefined) => {
    const { value } = said[name] ?? {};
    if (value === 'Infinity') return undefined;
    return value === undefined ? unsaid : Math.max(scalars[name] ?? 1, toMilli(value));
  };
  const [cpus, mem] = [milli('cpus', undefined), milli('mem', scalars.mem)];
  return { limits: { ...(cpus && { cpus }), ...(mem && { mem }) } };
}

/** Without a shell, `arguments` are the whole argument vector, the name of the program among them. */
function toArguments(command: TaskInfo['command']): string[] {
  const { shell = true, value = '', arguments: argv = [] } = command ?? {};
  return shell ? ['/bin/sh', '-c', value] : [value, ...argv.slice(1)];
}

const healthPort = 'health';

/** The ports that it is discovered by, and the one that is asked for its health. A named task of one is an endpoint in the mesh. */
function toPorts({ discovery, health_check }: TaskInfo, resources: Resources): Pick<TaskSpec, 'ports' | 'service'> {
  const held = new Set(portNumbers(resources));
  const ports: TaskSpec['ports'] = [];
  for (const [i, { number, name = '', protocol = '' }] of (discovery?.ports?.ports ?? []).entries()) {
    const own = toName(name) || `port-${i}`;
    const isHttp = protocol === 'http' || name.startsWith('http');
    if (!held.has(number) || own === healthPort || ports.some(each => each.name === own)) continue;
    ports.push({ name: own, protocol: isHttp ? 'http' : 'tcp', number });
  }
  const [first] = ports;
  const name = toName(discovery?.name ?? '');
  const service = first === undefined || name === '' ? undefined : { name, port: first.name };
  const health = health_check?.http?.port ?? health_check?.tcp?.port;
  if (health !== undefined) ports.push({ name: healthPort, protocol: 'tcp', number: health });
  return { ports, ...(service && { service }) };
}

function toHealth({ http, tcp, command, ...check }: NonNullable<TaskInfo['health_check']>): TaskSpec['health'] {
  const rules = {
    path: http?.path ?? '/',
    intervalMs: Math.max(100, toWhole(check.interval_seconds)),
    timeoutMs: Math.max(100, toWhole(check.timeout_seconds)),
    initialDelayMs: toWhole(check.delay_seconds),
    gracePeriodMs: toWhole(check.grace_period_seconds),
    threshold: Math.max(1, check.consecutive_failures),
  };
  if (http === undefined && tcp === undefined) return { type: 'exec', command: toArguments(command), ...rules };
  return { type: http === undefined ? 'tcp' : 'http', port: healthPort, ...rules };
}

function toWhole(seconds: number): number {
  return Math.round(seconds * 1_000);
}

function toMs({ nanoseconds }: { readonly nanoseconds: number }): number {
  return Math.round(nanoseconds / 1e6);
}

/** The nearest name of the mesh; empty where there is none. */
export function toName(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-|-$/g, '');
}

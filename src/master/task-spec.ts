import { secondMs } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { toTaskArtifact } from '../model/artifact.ts';
import { type Job, labelsOf } from '../model/document.ts';
import { type Needs, taskTypeOf, upstreamOf } from '../model/job.ts';
import { type Resources, toMilli } from '../model/resources.ts';
import { parseRunLabel, printRunLabel } from '../model/run-label.ts';
import type { TaskSpec } from '../model/task.ts';
import { fillTemplates } from '../model/task-template.ts';

/** What a task has of its own. */
export interface TaskTemplate {
  readonly command: readonly string[] | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly needs: Needs;
  readonly expectedMs: number | undefined;
  /** Labels of those that have to finish before it. */
  readonly after: readonly string[];
}

/** The task of `label` in `job`, with its own command, environment and needs where the job's list gives them. */
export function taskOf(job: Job, label: string): TaskTemplate {
  const run = job.spec.type === 'periodic' ? parseRunLabel(label) : undefined;
  const own = job.spec.tasks?.find(task => task.name === (run?.name ?? label));
  return {
    command: own?.command ?? job.spec.command,
    env: { ...job.spec.env, ...own?.env },
    needs: own?.resources ?? job.spec.resources,
    expectedMs: own?.expectedDuration ?? job.spec.expectedDuration,
    after: (own?.after ?? []).map(name => (run === undefined ? name : printRunLabel({ at: run.at, name }))),
  };
}

/** How many ports a task leaves to its node: of its own, and those on loopback that it has no number for. */
export function portCountOf({ spec }: Job): number {
  return spec.ports.length + spec.upstreams.filter(upstream => upstreamOf(upstream).localPort === 'auto').length;
}

/** `numbers` are for those that the node was to choose, in the job's order. */
function localPortsOf({ spec }: Job, numbers: readonly number[]): NonNullable<TaskSpec['localPorts']> {
  const left = [...numbers];
  return spec.upstreams.map(upstreamOf).flatMap(({ service, localPort }) => {
    const port = localPort === 'auto' ? left.shift() : localPort;
    return port === undefined ? [] : [{ service, port }];
  });
}

/** As Mesos has it: of memory what it said that it needs, of processors only what it asked to be held to. */
function limitsOf({ spec }: Job, needs: Needs): Pick<TaskSpec, 'limits'> {
  const { cpus, mem = needs.mem, memHigh, pids } = spec.limits ?? {};
  const limits = {
    ...(cpus !== undefined && { cpus: toMilli(cpus) }),
    // one that needs nothing has said nothing of its memory
    ...(mem !== undefined && mem > 0 && { mem: toMilli(mem) }),
    ...(memHigh !== undefined && { memHigh: toMilli(memHigh) }),
    ...(pids !== undefined && { pids }),
  };
  return Object.keys(limits).length === 0 ? {} : { limits };
}
/** So many failures in a row of a task that is to come to an end. */
const batchAttempts = 10;

/** Callers hear within so long that an endpoint goes, unless their node is away. */
const shutdownDelayMs = secondMs;

/** The whole task that a node is given once it is placed: `ports` are the allocated numbers, in the order of `portCountOf`. */
export function makeTaskSpec(
  job: Job,
  task: { readonly id: string; readonly label: string },
  resources: Resources,
  ports: readonly number[],
  node: { readonly id: string; readonly labels: Readonly<Record<string, string>> },
): TaskSpec {
  const { spec, metadata } = job;
  const { command, env, needs } = taskOf(job, task.label);
  const isService = taskTypeOf(spec) === 'service';
  const localPorts = localPortsOf(job, ports.slice(spec.ports.length));
  if (command === undefined) throw new MesoliteError('INTERNAL', `task ${task.id} has no command`);
  return {
    id: task.id,
    job: metadata.name,
    namespace: metadata.namespace,
    labels: labelsOf(job),
    type: taskTypeOf(spec),
    command: [...command],
    env: fillTemplates(env, {
      node: node.id,
      labels: node.labels,
      job: metadata.name,
      namespace: metadata.namespace,
      task: task.id,
      name: parseRunLabel(task.label)?.name ?? task.label,
      ports: Object.fromEntries(spec.ports.map(({ name }, index) => [name, ports[index] ?? 0])),
    }),
    resources,
    ...limitsOf(job, needs),
    ...(spec.user !== undefined && { user: spec.user }),
    ...(spec.capabilities !== undefined && { capabilities: spec.capabilities }),
    ports: spec.ports.map((port, index) => ({ ...port, number: ports[index] ?? 0 })),
    ...(spec.service && { service: { name: spec.service.name ?? metadata.name, port: spec.service.port } }),
    upstreams: spec.upstreams.map(upstream => upstreamOf(upstream).service),
    ...(localPorts.length > 0 && { localPorts }),
    ...(spec.artifacts && { artifacts: spec.artifacts.map(toTaskArtifact) }),
    serviceAccount: spec.serviceAccount,
    ...(spec.identity === true && { identity: true }),
    killGraceMs: spec.killGrace,
    ...(spec.service && { shutdownDelayMs: spec.shutdownDelay ?? shutdownDelayMs }),
    ...(spec.maxRunTime !== undefined && { maxRunMs: spec.maxRunTime }),
    restart: {
      policy: spec.restart.policy ?? (isService ? 'always' : 'never'),
      // who would start it again once its network is back?
      attempts: spec.restart.attempts ?? (isService ? Number.MAX_SAFE_INTEGER : batchAttempts),
      backoffMs: spec.restart.backoff,
      maxBackoffMs: spec.restart.maxBackoff,
      resetAfterMs: spec.restart.resetAfter,
    },
    ...(spec.health && {
      health: {
        type: spec.health.type,
        ...(spec.health.port !== undefined && { port: spec.health.port }),
        ...(spec.health.command && { command: spec.health.command }),
        path: spec.health.path,
        intervalMs: spec.health.interval,
        timeoutMs: spec.health.timeout,
        initialDelayMs: spec.health.initialDelay,
        ...(spec.health.gracePeriod !== undefined && { gracePeriodMs: spec.health.gracePeriod }),
        threshold: spec.health.threshold,
      },
    }),
  };
}

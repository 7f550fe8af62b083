import { Buffer } from 'node:buffer';
import { contentKeyOf, toTaskArtifact } from '../model/artifact.ts';
import type { Job } from '../model/document.ts';
import { type Constraint, nodePortsOf } from '../model/job.ts';
import { parseRunLabel } from '../model/run-label.ts';
import { secretBounds, secretsAttribute } from '../model/secret.ts';
import { slotsOfBytes, taskSlots } from '../model/task-slots.ts';
import { labelsInTemplates } from '../model/task-template.ts';
import { defaultStrategy, type PendingTask } from '../scheduling/pending.ts';
import type { TaskRecord } from '../store/task-record.ts';
import { resourcesOf } from './expand-job.ts';
import { portCountOf, type TaskTemplate, taskOf } from './task-spec.ts';

/** Tasks of a batch's list are work of their own; instances of one command are all the same work. */
export function classOf({ job, namespace, label }: Pick<TaskRecord, 'job' | 'namespace' | 'label'>): string {
  const name = parseRunLabel(label)?.name ?? label;
  return /^\d+$/.test(name) ? `${namespace}/${job}` : `${namespace}/${job}/${name}`;
}

const keepsSecrets: Constraint = { attribute: secretsAttribute, operator: 'exists', values: [] };

type Unplaced = Pick<
  TaskRecord,
  'id' | 'job' | 'namespace' | 'type' | 'label' | 'priority' | 'role' | 'submittedAt' | 'position' | 'template'
>;

/** What the scheduler is told of a task that waits for a place. */
export function toPending(task: Unplaced, job: Job): PendingTask {
  const own = taskOf(job, task.label);
  const { needs, expectedMs, env, after } = own;
  const { scalars, sets } = resourcesOf(needs);
  const { spec } = job;
  const keys = (names: readonly string[] | undefined) => names?.map(name => `${task.namespace}/${name}`);
  return {
    id: task.id,
    job: task.job,
    namespace: task.namespace,
    type: task.type,
    class: classOf(task),
    priority: task.priority,
    role: task.role,
    needs: { sets, scalars: { ...scalars, [taskSlots]: slotsOfBytes(mostBytes(job, own)) } },
    portCount: portCountOf(job),
    nodePorts: nodePortsOf(spec),
    constraints: [
      ...spec.constraints,
      ...(spec.secrets || spec.identity === true ? [keepsSecrets] : []),
      ...impliedConstraints(job, task.label, env),
    ],
    affinities: spec.affinities,
    spreadOver: spec.spreadOver,
    maxPerNode: spec.maxPerNode,
    apartFrom: keys(spec.apartFrom),
    togetherWith: keys(spec.togetherWith),
    after: keys(spec.after),
    afterTasks: after,
    strategy: spec.placement ?? defaultStrategy[task.type],
    expectedMs,
    preempts: spec.preempts,
    maxRunMs: spec.maxRunTime,
    artifacts: spec.artifacts?.map(artifact => contentKeyOf(toTaskArtifact(artifact).sha256)),
    submittedAt: task.submittedAt,
    order: task.position,
    template: task.template,
  };
}

/** Names, times and hashes that a task is given beside what its job says; and the numbers of one port. */
const ownBytes = 2048;
const portBytes = 128;
/** In place of a template may be a label of the node, or the task's id. */
const filledBytes = 256;
/** In base64, with a key and a tag of its own. */
const sealedBytes = Math.ceil((secretBounds.valueBytes * 4) / 3) + 256;

/** What the task comes to in a message, at most: what of it depends on its node is not known yet. */
function mostBytes({ metadata, spec }: Job, { command, env }: Pick<TaskTemplate, 'command' | 'env'>): number {
  const { tasks: _, command: __, env: ___, secrets = [], ...shared } = spec;
  const text = JSON.stringify([metadata.labels, shared, command, env]);
  const templates = text.split('{{').length - 1;
  const numbers = (spec.ports.length + spec.upstreams.length) * portBytes;
  return Buffer.byteLength(text) + ownBytes + numbers + templates * filledBytes + secrets.length * sealedBytes;
}

/** A task of a system job belongs to the node that it is called after; and an environment has to be filled in. */
function impliedConstraints({ spec }: Job, label: string, env: Readonly<Record<string, string>>): Constraint[] {
  const constraints: Constraint[] = labelsInTemplates(env).map(attribute => ({
    attribute,
    operator: 'exists',
    values: [],
  }));
  if (spec.type === 'system') constraints.push({ attribute: 'node', operator: 'in', values: [label] });
  return constraints;
}

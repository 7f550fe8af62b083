import type { Clock } from '../base/clock.ts';
import { MesoliteError } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Sha256 } from '../model/audit-chain.ts';
import { decodeDocument, type Job } from '../model/document.ts';
import { taskTypeOf } from '../model/job.ts';
import { defaultRole } from '../model/role.ts';
import { parseRunLabel, printRunLabel } from '../model/run-label.ts';
import { isTerminal, type TaskStatus } from '../model/task.ts';
import { unmetConstraints } from '../scheduling/feasible.ts';
import type { PendingTask } from '../scheduling/pending.ts';
import type { AssignmentVersion } from '../store/generations.ts';
import type { Store } from '../store/store.ts';
import type { NewTask, TaskRecord } from '../store/task-record.ts';
import { maxIds } from '../store/tasks.ts';
import { expandJob, type JobChange, labelsWanted, type PresentTask, templateOf, type Wants } from './expand-job.ts';
import { attributesOf, type FleetNode } from './fleet.ts';
import { toPending } from './pending-task.ts';

/** A task that is not there yet. */
export interface PreviewedTask {
  readonly label: string;
  readonly pending: PendingTask;
}

/** Turns job documents into tasks: those that are missing are entered, those that are not wanted any more are stopped. */
export interface Jobs {
  apply(job: Job): Promise<void>;
  remove(job: Job): Promise<void>;
  get(namespace: string, name: string): Promise<Job | undefined>;
  list(): Promise<Job[]>;
  /** Ends these tasks where they are, and has others in their place wait for another node; `why` is told of those that end. */
  move(tasks: readonly string[], why?: Pick<TaskStatus, 'reason' | 'message'>): Promise<void>;
  /** Has others in their place wait for another node, and these go on meanwhile. */
  replace(tasks: readonly string[]): Promise<void>;
  /** Has system jobs have a task on each node that they are for, and on no other. */
  spread(): Promise<void>;
  /** Of an update: gives these labels a task of the job as it is now, whose ids come back, and ends these tasks. */
  step(job: Job, change: { readonly start: readonly string[]; readonly stop: readonly string[] }): Promise<string[]>;
  /** What names the version that a service's tasks are to be of now. */
  templateOf(job: Job): Promise<string>;
  /** Begins the run of a periodic job that was due at `at`; false where one before it goes on, and it allows no other. */
  startRun(job: Job, at: number): Promise<boolean>;
  /** The tasks that applying these would add. */
  preview(jobs: readonly Job[]): Promise<PreviewedTask[]>;
}

export function makeJobs(parts: {
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: () => string;
  readonly sha256: Sha256;
  /** Assignments that changed, since tasks of theirs are to end. */
  readonly onStopped: (versions: readonly AssignmentVersion[]) => void;
  readonly nodes: () => readonly FleetNode[];
  /** Its tasks are replaced step by step, by `step`. */
  readonly isUpdating?: (job: Job) => boolean;
}): Jobs {
  const { store, clock, newId, sha256, onStopped, nodes, isUpdating = () => false } = parts;
  const suffix = () => newId().slice(0, 6);
  const gate = new Gate(64);

  async function tasksOf(job: Job): Promise<TaskRecord[]> {
    const { name, namespace } = job.metadata;
    return store.tasks.list({ job: name, namespace, framework: null });
  }

  async function stop(tasks: readonly TaskRecord[], why?: Pick<TaskStatus, 'reason' | 'message'>): Promise<void> {
    const live = tasks.filter(isLive);
    const told = why === undefined ? [] : live.filter(task => task.node !== null);
    const versions = await store.assignments.stop(
      live.map(task => task.id),
      told.map(({ id: task }) => ({ uuid: newId(), task, state: 'TASK_KILLING', ...why, at: clock.now() })),
    );
    if (versions.length > 0) onStopped(versions);
    const waiting = live.filter(task => task.node === null);
    const at = clock.now();
    const killed = waiting.map(task => ({
      uuid: newId(),
      task: task.id,
      state: 'TASK_KILLED' as const,
      message: 'withdrawn before it had a place',
      at,
    }));
    if (killed.length > 0) await store.tasks.recordStatuses(killed, { node: null, receivedAt: at });
  }

  async function versionsFor({ spec, metadata }: Job): Promise<ReadonlyMap<string, number> | undefined> {
    return spec.secrets && store.secrets.versions(metadata.namespace);
  }

  async function expand(
    job: Job,
    present: readonly TaskRecord[],
    wants: Omit<Wants, 'nodes'> = {},
  ): Promise<JobChange> {
    const secretVersions = await versionsFor(job);
    const all = { ...wants, ...(job.spec.type === 'system' && { nodes: nodesFor(job, nodes()) }) };
    const tools = { sha256, suffix, ...(secretVersions && { secretVersions }) };
    return expandJob(job, present.map(toPresent), tools, all);
  }

  async function applyJob(job: Job, wants?: Omit<Wants, 'nodes'>): Promise<void> {
    const present = await tasksOf(job);
    const change = await expand(job, present, { inSteps: isUpdating(job), ...wants });
    await stop(present.filter(task => change.stop.includes(task.id)));
    await enter(job, change);
  }

  async function enter(job: Job, { add }: Pick<JobChange, 'add'>): Promise<void> {
    const { name, namespace } = job.metadata;
    const { role = defaultRole } = job.spec;
    const shared = { job: name, namespace, type: taskTypeOf(job.spec), role, submittedAt: clock.now() };
    await store.tasks.insert(add.map((task): NewTask => ({ ...task, ...shared })));
  }

  async function moveAll(ids: readonly string[], why?: Pick<TaskStatus, 'reason' | 'message'>): Promise<void> {
    const tasks = await store.tasks.list({ ids: ids.slice(0, maxIds) });
    await stop(tasks, why);
    for (const job of await jobsOf(tasks)) {
      const { name, namespace } = job.metadata;
      const due = tasks.filter(task => task.namespace === namespace && task.job === name).map(task => task.label);
      await applyJob(job, { due });
    }
  }

  async function replaceAll(ids: readonly string[]): Promise<void> {
    const tasks = await store.tasks.list({ ids: ids.slice(0, maxIds) });
    for (const job of await jobsOf(tasks)) {
      // a task of a system job has no other node
      if (job.spec.type === 'system') continue;
      const { name, namespace } = job.metadata;
      const due = tasks.filter(task => task.namespace === namespace && task.job === name).map(task => task.label);
      const others = (await tasksOf(job)).filter(task => !ids.includes(task.id));
      await enter(job, await expand(job, others, { due, inSteps: isUpdating(job) }));
    }
  }

  async function jobsOf(tasks: readonly TaskRecord[]): Promise<Job[]> {
    const keys = new Map(tasks.map(({ namespace, job }) => [`${namespace}/${job}`, { namespace, job }]));
    const found = await Promise.all([...keys.values()].map(({ namespace, job }) => find(namespace, job)));
    return found.filter(job => job !== undefined);
  }

  async function find(namespace: string, name: string): Promise<Job | undefined> {
    const row = await store.documents.get({ kind: 'Job', namespace, name });
    return row && asJob(JSON.parse(row.json));
  }

  async function startRun(job: Job, at: number): Promise<boolean> {
    const open = (await tasksOf(job)).filter(task => !isTerminal(task.state));
    if (open.length > 0 && job.spec.periodic?.concurrency === 'forbid') return false;
    if (job.spec.periodic?.concurrency === 'replace') await stop(open);
    await applyJob(job, { due: dueLabels(job, at) });
    await forgetRuns(job);
    return true;
  }

  /** Beyond those that are kept, the newest. */
  async function forgetRuns(job: Job): Promise<void> {
    const runs = new Map<number, TaskRecord[]>();
    for (const task of await tasksOf(job)) {
      const at = parseRunLabel(task.label)?.at ?? 0;
      runs.set(at, [...(runs.get(at) ?? []), task]);
    }
    const ended = [...runs].filter(([, tasks]) => tasks.every(task => isTerminal(task.state)));
    ended.sort(([one], [other]) => other - one);
    const old = ended.slice(job.spec.periodic?.keep).flatMap(([, tasks]) => tasks.map(task => task.id));
    const { name, namespace } = job.metadata;
    if (old.length > 0) await store.tasks.removeEnded({ job: name, namespace }, old);
  }

  async function list(): Promise<Job[]> {
    return (await store.documents.list('Job')).map(row => asJob(JSON.parse(row.json)));
  }

  return {
    // what is missing must not be entered twice
    apply: job => gate.run(() => applyJob(job)),
    move: (ids, why) => gate.run(() => moveAll(ids, why)),
    replace: ids => gate.run(() => replaceAll(ids)),
    spread: () =>
      gate.run(async () => {
        for (const job of await list()) if (job.spec.type === 'system') await applyJob(job, { keepEnded: true });
      }),
    step: (job, { start, stop: ids }) =>
      gate.run(async () => {
        const present = await tasksOf(job);
        await stop(present.filter(task => ids.includes(task.id)));
        const add = (await expand(job, present)).add.filter(task => start.includes(task.label));
        await enter(job, { add });
        return add.map(task => task.id);
      }),
    templateOf: async job => sha256(templateOf(job, '0', await versionsFor(job))),
    startRun: (job, at) => gate.run(() => startRun(job, at)),
    remove: job =>
      gate.run(async () => {
        const { name, namespace } = job.metadata;
        await stop(await tasksOf(job));
        await store.tasks.removeEnded({ job: name, namespace });
      }),
    get: find,
    async preview(wanted) {
      const found = await Promise.all(
        wanted.map(async job => {
          const { name, namespace } = job.metadata;
          const { role = defaultRole } = job.spec;
          const now = clock.now();
          const shared = { job: name, namespace, type: taskTypeOf(job.spec), role, submittedAt: now };
          // of a periodic job the next run
          const { add } = await expand(job, await tasksOf(job), { due: dueLabels(job, now) });
          return add.map(task => ({ label: task.label, pending: toPending({ ...task, ...shared }, job) }));
        }),
      );
      return found.flat();
    },
    list,
  };
}

export function asJob(sent: unknown): Job {
  const document = decodeDocument(sent, 'stored job');
  if (document.kind !== 'Job') throw new MesoliteError('INTERNAL', `a ${document.kind} is stored as a job`);
  return document;
}

/** Those that its constraints allow, drained or silent as they may be: there its task waits. */
function nodesFor(job: Job, nodes: readonly FleetNode[]): string[] {
  return nodes
    .filter(({ birth, state }) => birth !== null && state !== 'quarantined')
    .filter(node => unmetConstraints(job.spec.constraints, attributesOf(node)).length === 0)
    .map(({ id }) => id);
}

function dueLabels(job: Job, at: number): string[] {
  return job.spec.type === 'periodic' ? labelsWanted(job).map(name => printRunLabel({ at, name })) : [];
}

function isLive(task: TaskRecord): boolean {
  return !isTerminal(task.state) && !task.stopping;
}

function toPresent(task: TaskRecord): PresentTask {
  const { id, label, template, node } = task;
  const ran = isTerminal(task.state) && !task.stopping && task.state !== 'TASK_KILLED';
  return { id, label, template, placed: node !== null, live: isLive(task), ran };
}

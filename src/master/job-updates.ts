import { type Clock, secondMs } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import {
  beginUpdate,
  lookAtUpdate,
  newWatch,
  type UpdateLook,
  type UpdateState,
  type UpdateTask,
} from '../lifecycle/job-update.ts';
import type { Job } from '../model/document.ts';
import {
  type JobUpdateCommand,
  type JobUpdatePhase,
  type JobUpdateView,
  jobUpdatePhases,
} from '../model/job-update.ts';
import { isTerminal } from '../model/task.ts';
import type { JobUpdateTable } from '../store/schema.ts';
import type { Store } from '../store/store.ts';
import type { TaskRecord } from '../store/task-record.ts';
import type { Events } from './events.ts';
import { labelsWanted, templateOf } from './expand-job.ts';
import { asJob, type Jobs } from './jobs.ts';

interface JobName {
  readonly namespace: string;
  readonly name: string;
}

/** Replaces the tasks of a changed service step by step, and takes the change back when its tasks do not get well. */
export interface JobUpdates {
  load(): Promise<void>;
  /** A job is about to be stored and applied, in the turn of `gate`: it is replaced in steps from now on, or as ever. */
  begin(job: Job): Promise<void>;
  /** A secret of a job has changed: applies it anew. */
  renew(name: JobName): Promise<void>;
  /** In the turn of `gate`. */
  forget(name: JobName): Promise<void>;
  /** Are its tasks replaced in steps, or left as they came to be by some? */
  isUnderWay(job: Job): boolean;
  view(job: Job): JobUpdateView | undefined;
  /** Throws NOT_FOUND where nothing is under way, and CONFLICT where there is nothing to promote or to go back to. */
  command(
    name: { readonly namespace: string; readonly job: string },
    command: JobUpdateCommand,
    by: string,
  ): Promise<JobUpdateView>;
  run(signal: AbortSignal): Promise<void>;
}

const lookEveryMs = secondMs;

interface Update {
  row: JobUpdateTable;
  state: UpdateState;
  look: UpdateLook | undefined;
}

export function makeJobUpdates(parts: {
  readonly store: Pick<Store, 'jobUpdates' | 'tasks' | 'documents'>;
  readonly jobs: Pick<Jobs, 'get' | 'apply' | 'step' | 'templateOf'>;
  /** The turn of all that changes which jobs there are. */
  readonly gate: Gate;
  readonly whyWaiting: (task: string) => string | undefined;
  readonly onJobs: () => void;
  readonly events: Pick<Events, 'record'>;
  readonly clock: Clock;
  readonly log: Log;
}): JobUpdates {
  const { store, jobs, gate, whyWaiting, onJobs, events, clock, log } = parts;
  const updates = new Map<string, Update>();

  async function save(update: Update, more: Partial<JobUpdateTable>): Promise<void> {
    update.row = { ...update.row, ...more };
    await store.jobUpdates.save(update.row);
  }

  async function forget(name: JobName): Promise<void> {
    if (updates.delete(keyOf(name))) await store.jobUpdates.remove(name);
  }

  async function end(update: Update, phase: keyof typeof endings, reason: string | null): Promise<void> {
    const { namespace, name } = update.row;
    await save(update, { phase, reason, endedAt: clock.now() });
    events.record(endings[phase], { message: `job ${namespace}/${name}${reason === null ? '' : `: ${reason}`}` });
  }

  /** From now on the version before is the one that is to be. */
  async function turnBack(update: Update, reason: string): Promise<void> {
    update.state = { phase: 'reverting', watches: new Map() };
    await save(update, { phase: 'reverting', reason, endedAt: null });
  }

  /** Stores the version before, and where that has no steps carries it out. */
  async function restore({ row: { namespace, name, fromJson } }: Update): Promise<Job> {
    await store.documents.apply([{ kind: 'Job', namespace, name, json: fromJson }], clock.now());
    return asJob(JSON.parse(fromJson));
  }

  async function tasksOf({ namespace, name }: JobName): Promise<TaskRecord[]> {
    return store.tasks.list({ namespace, job: name, framework: null });
  }

  async function look(update: Update): Promise<void> {
    const { row } = update;
    const isBack = row.phase === 'reverting';
    const stored = await jobs.get(row.namespace, row.name);
    const job = stored && isBack && !isSame(row.fromJson, stored) ? await restore(update) : stored;
    const rules = job?.spec.update;
    if (job === undefined) return forget(row);
    if (rules === undefined) {
      await end(update, 'reverted', row.reason);
      await jobs.apply(job);
      return onJobs();
    }
    const template = await jobs.templateOf(job);
    const tasks = (await tasksOf(row)).map(task => toUpdateTask(task, template, whyWaiting(task.id)));
    const seen = lookAtUpdate(rules, labelsWanted(job), tasks, update.state, lookEveryMs);
    const { state, start, stop, verdict } = seen;
    update.look = seen;
    update.state = state;
    if (state.phase !== row.phase) await save(update, { phase: state.phase });
    if (start.length + stop.length > 0) {
      const started = await jobs.step(job, { start, stop });
      update.state = { ...state, watches: new Map([...state.watches, ...started.map(id => [id, newWatch] as const)]) };
      onJobs();
    }
    if (verdict === 'done') await end(update, isBack ? 'reverted' : 'succeeded', isBack ? row.reason : null);
    if (typeof verdict === 'string') return;
    if (isBack) await end(update, 'failed', `${row.reason}; and the version before: ${verdict.failed}`);
    else if (!rules.autoRevert || isSame(row.fromJson, job)) await end(update, 'failed', verdict.failed);
    else await turnBack(update, verdict.failed);
  }

  async function begin(job: Job): Promise<void> {
    const known = updates.get(keyOf(job.metadata));
    const { namespace, name } = job.metadata;
    const before = (await store.documents.get({ kind: 'Job', namespace, name }))?.json;
    const rules = job.spec.update;
    if (rules === undefined || before === undefined) return isHeld(known) ? forget(job.metadata) : undefined;
    const isRepeated = isSame(before, job);
    if (isHeld(known) && isSame(known.row.fromJson, job)) {
      if (!isRepeated) await turnBack(known, 'an operator has applied the version before');
      return;
    }
    if (isHeld(known) && isRepeated) return;
    const template = await jobs.templateOf(job);
    const isOther = (task: TaskRecord) => isLive(task) && task.node !== null && task.template !== template;
    if (!(await tasksOf(job.metadata)).some(isOther)) return isHeld(known) ? forget(job.metadata) : undefined;
    const state = beginUpdate(rules);
    const fromJson = isHeld(known) ? known.row.fromJson : before;
    const row = { namespace, name, fromJson, phase: state.phase, reason: null, startedAt: clock.now(), endedAt: null };
    const update = { row, state, look: undefined };
    updates.set(keyOf(row), update);
    await save(update, {});
  }

  function view({ row, look }: Update, job: Job | undefined): JobUpdateView {
    const { fromJson: _, name, phase, ...rest } = row;
    const labels = job === undefined ? 0 : labelsWanted(job).length;
    const wanted = phase === 'canary' ? Math.min(labels, job?.spec.update?.canary ?? 0) : labels;
    const waits = row.endedAt === null && look?.verdict === 'waits';
    const healthy = phase === 'succeeded' ? wanted : (look?.healthy ?? 0);
    return { ...rest, job: name, phase: phaseOf(phase), healthy, wanted, waits };
  }

  async function command(name: JobName, command: JobUpdateCommand, by: string): Promise<JobUpdateView> {
    const what = `job ${keyOf(name)}`;
    const update = updates.get(keyOf(name));
    const job = await jobs.get(name.namespace, name.name);
    if (!isHeld(update) || job === undefined) throw new MesoliteError('NOT_FOUND', `no update of ${what} is under way`);
    const refuse = (why: string) => new MesoliteError('CONFLICT', `${what} ${why}`);
    if (command === 'revert') {
      if (isSame(update.row.fromJson, job)) throw refuse('has no other version to go back to');
      await turnBack(update, `reverted by ${by}`);
    } else {
      if (update.state.phase !== 'canary') throw refuse('has no canaries to promote');
      if (update.look?.verdict !== 'waits') throw refuse('has canaries that are not ready yet');
      update.state = { ...update.state, phase: 'rolling' };
      await save(update, { phase: 'rolling' });
    }
    return view(update, job);
  }

  return {
    async load() {
      for (const row of await store.jobUpdates.list()) {
        const phase = row.phase === 'canary' || row.phase === 'reverting' ? row.phase : 'rolling';
        updates.set(keyOf(row), { row, state: { phase, watches: new Map() }, look: undefined });
      }
    },
    begin,
    renew: ({ namespace, name }) =>
      gate.run(async () => {
        const job = await jobs.get(namespace, name);
        if (job === undefined) return;
        await begin(job);
        await jobs.apply(job);
      }),
    forget,
    isUnderWay: job => isHeld(updates.get(keyOf(job.metadata))),
    view(job) {
      const update = updates.get(keyOf(job.metadata));
      return update && view(update, job);
    },
    command: ({ namespace, job: name }, word, by) => gate.run(() => command({ namespace, name }, word, by)),
    async run(signal) {
      while (await clock.sleep(lookEveryMs, signal, 'loop')) {
        for (const update of updates.values()) {
          if (!isOpen(update)) continue;
          try {
            // what came before in the turn may have ended it, or begun another
            await gate.run(async () => {
              if (isOpen(update) && updates.get(keyOf(update.row)) === update) await look(update);
            });
          } catch (error) {
            log.error('an update of a job could not go on', { job: update.row.name, reason: messageOf(error) });
          }
        }
      }
    },
  };
}

/** What is recorded at each end. */
const endings = { succeeded: 'job-updated', reverted: 'job-reverted', failed: 'job-update-failed' } as const;

function keyOf({ namespace, name }: JobName): string {
  return `${namespace}/${name}`;
}

function isOpen({ row }: Update): boolean {
  return row.endedAt === null;
}

/** One that has failed keeps what it came to, until an operator says otherwise. */
function isHeld(update: Update | undefined): update is Update {
  return update !== undefined && (isOpen(update) || update.row.phase === 'failed');
}

/** Do both make the same tasks, as far as their documents say? */
function isSame(json: string, job: Job): boolean {
  return templateOf(asJob(JSON.parse(json)), '0') === templateOf(job, '0');
}

function phaseOf(text: string): JobUpdatePhase {
  return jobUpdatePhases.find(phase => phase === text) ?? 'failed';
}

function isLive({ state, stopping }: TaskRecord): boolean {
  return !isTerminal(state) && !stopping;
}

function toUpdateTask(task: TaskRecord, template: string, waits: string | undefined): UpdateTask {
  const { id, label, ready, message } = task;
  const failed = isTerminal(task.state) && !task.stopping && task.state !== 'TASK_KILLED';
  return { id, label, ready, isNew: task.template === template, live: isLive(task), failed, message: message ?? waits };
}

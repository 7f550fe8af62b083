import { type Clock, secondMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import { Gate } from '../base/gate.ts';
import type { Log } from '../base/log.ts';
import type { Files } from '../device/files.ts';
import type { LogKeeper } from '../device/task-log.ts';
import { applyAssignment, type DesiredSet, nothingDesired } from '../lifecycle/assignment.ts';
import { reconcile } from '../lifecycle/reconcile.ts';
import { assignmentHash } from '../lifecycle/spec-hash.ts';
import type { Sha256 } from '../model/audit-chain.ts';
import type { Assignment } from '../model/message.ts';
import type { TaskSpec, TaskStatus } from '../model/task.ts';
import { maxTasksPerNode } from '../model/task-slots.ts';
import { makeDesiredTasks } from './desired-tasks.ts';
import type { TaskDirectories } from './task-directories.ts';
import type { TaskEndings } from './task-endings.ts';
import { makeTaskRunner, type TaskRunner, type TaskRunnerParts } from './task-runner.ts';
import type { WatchedTask } from './task-watch.ts';

/** Keeps the tasks of this node as the master wants them, from what is on the disk when there is no master. */
export interface Supervisor {
  /** Finds or starts the tasks of the last assignment; the tasks outlive `signal`, the watching ends. */
  start(signal: AbortSignal): Promise<void>;
  /** Returns why it was not carried out as it says; undefined when it was, or was known already. */
  assign(assignment: Assignment): Promise<string | undefined>;
  readonly held: { readonly epoch: number; readonly generation: number; readonly hash: string };
  /** The newest status of each task that is here. */
  statuses(): TaskStatus[];
  /** Reports the status of a task once more: what the status tells has changed outside of the task. */
  sayAgain(task: string): void;
  /** All that are wanted here, ended ones among them. */
  desired(): Iterable<TaskSpec>;
  /** Tasks that have not ended, with whether they may be called. */
  live(): { readonly spec: TaskSpec; readonly ready: boolean }[];
  /** Those of which a process is there. */
  running(): WatchedTask[];
}

const strayGraceMs = 5 * secondMs;

export function makeSupervisor(
  parts: Omit<TaskRunnerParts, 'onReady' | 'onEnded'> & {
    readonly clock: Clock;
    readonly log: Log;
    readonly files: Files;
    readonly directories: TaskDirectories;
    readonly endings: TaskEndings;
    readonly logKeeper: LogKeeper;
    readonly sha256: Sha256;
    readonly inBackground: (what: string, work: Promise<unknown>) => void;
    /** Tasks came, went, or may be called or not from now on; of a start it is told once, when all are there. */
    readonly onChanged: () => void;
  },
): Supervisor {
  const { files, directories, endings, logKeeper, sha256, processes, clock, newId, log } = parts;
  const { inBackground, onStatus } = parts;
  const onDisk = makeDesiredTasks({ files, log });
  // room for the ends of all tasks at once
  const gate = new Gate(2 * maxTasksPerNode);
  const runners = new Map<string, TaskRunner>();
  /** Wanted, and not begun. */
  const waiting = new Map<string, TaskSpec>();
  /** The ends of the tasks that are still here. */
  const ended = new Map<string, TaskStatus>();
  /** Of tasks that an earlier agent has told to go. */
  const graces = new Map<string, number>();
  let desired: DesiredSet = nothingDesired;
  /** Is it known what is wanted, and followed? Until then nothing ends, and nobody hears that no task is here: what those that run were given would go. */
  let isKnown = false;
  let heldHash = assignmentHash([], sha256);
  let watching: AbortSignal = new AbortController().signal;
  const onChanged = () => {
    if (isKnown) parts.onChanged();
  };

  async function store(next: DesiredSet): Promise<void> {
    const going = [...runners.values()].filter(({ spec, ended }) => !ended && !next.tasks.has(spec.id));
    const ending = going.map(({ spec }) => [spec.id, spec.killGraceMs] as const);
    await onDisk.store({ set: next, graces: new Map([...graces, ...ending]) });
    desired = next;
    heldHash = assignmentHash(next.tasks.values(), sha256);
  }

  async function recall(): Promise<void> {
    for (const [id, status] of await endings.load(new Set(desired.tasks.keys()))) ended.set(id, status);
  }

  /** What is wanted is known from now on. */
  async function tellOthers(): Promise<void> {
    isKnown = true;
    onChanged();
    for (const status of ended.values()) onStatus(status);
    const strays = (await directories.list()).filter(id => !runners.has(id));
    for (const id of graces.keys()) if (!strays.includes(id)) graces.delete(id);
    for (const id of strays) inBackground('ending a stray task', endStray(id));
  }

  /** Ends what is not wanted, and has what is missing wait for `launchAll`. Returns the tasks that are not as they are wanted. */
  async function clear(): Promise<readonly string[]> {
    const steps = reconcile(desired.tasks, runners, sha256);
    for (const id of waiting.keys()) {
      if (desired.tasks.has(id)) continue;
      waiting.delete(id);
      sayUnwanted(id);
    }
    for (const spec of steps.launch) waiting.set(spec.id, spec);
    for (const id of steps.kill) runners.get(id)?.kill('the master does not want it any more');
    for (const id of steps.forget) await forget(id);
    onChanged();
    return steps.conflict;
  }

  /** One by one, so that a thousand of them do not keep those that end meanwhile, nor the next assignment. */
  async function launchAll(): Promise<void> {
    while (waiting.size > 0) await gate.run(launchNext);
    onChanged();
  }

  async function take(assignment: Assignment): Promise<string | undefined> {
    const applied = applyAssignment(desired, assignment);
    switch (applied.result) {
      case 'taken':
        await store(applied.desired);
        if (!isKnown) await recall();
        return describeConflicts(await clear());
      case 'ignored':
        return undefined;
      case 'gap':
        return 'it does not stand on what is held';
      case 'refused':
        return applied.reason;
      default:
        return applied satisfies never;
    }
  }

  async function launchNext(): Promise<void> {
    const [spec] = waiting.values();
    // another assignment has launched the last
    if (spec === undefined) return;
    const { id } = spec;
    waiting.delete(id);
    const directory = directories.of(id);
    const runner = makeTaskRunner(
      { ...parts, onReady: onChanged, onEnded: onTaskEnded },
      { spec, directory, hasEnded: ended.has(id) },
      watching,
    );
    runners.set(id, runner);
    logKeeper.watch(directory);
    await runner.begin();
  }

  function onTaskEnded(status: TaskStatus): void {
    onChanged();
    inBackground(
      'putting an ended task away',
      gate.run(() => conclude(status)),
    );
  }

  /** An end is on the disk before anybody hears of it: an agent that starts again must not undo what the master was told. */
  async function conclude(status: TaskStatus): Promise<void> {
    const { task } = status;
    const isWanted = desired.tasks.has(task);
    if (isWanted) {
      await endings.write(status).catch(error => {
        log.error('the end of a task could not be written', { task, reason: messageOf(error) });
      });
    }
    ended.set(task, status);
    onStatus(status);
    if (!isWanted) await forget(task);
  }

  async function forget(id: string): Promise<void> {
    runners.delete(id);
    ended.delete(id);
    logKeeper.forget(directories.of(id));
    await endings.remove(id);
    await directories.retire(id);
  }

  /** What runs here and is in no assignment: the agent died between writing the assignment and ending the task. */
  async function endStray(id: string): Promise<void> {
    const directory = directories.of(id);
    const found = await processes.adopt(directory, watching);
    if (found.result === 'running') {
      logKeeper.watch(directory);
      log.warn('a task that nobody wants was found running', { task: id });
      const { exited, signal } = found.process;
      signal('SIGTERM');
      const cancel = clock.after(graces.get(id) ?? strayGraceMs, () => signal('SIGKILL'));
      await exited;
      cancel();
    }
    if (watching.aborted) return;
    graces.delete(id);
    logKeeper.forget(directory);
    sayUnwanted(id);
    await directories.retire(id);
  }

  /** Of a task that has no runner. */
  function sayUnwanted(task: string): void {
    const message = 'ended: the master does not want it any more';
    onStatus({ uuid: newId(), task, state: 'TASK_KILLED', message, at: clock.now() });
  }

  return {
    async start(signal) {
      watching = signal;
      const found = await onDisk.load();
      if (found === undefined) {
        // what runs says something, too, whoever wants it
        for (const id of await directories.list()) logKeeper.watch(directories.of(id));
        return;
      }
      desired = found.set;
      for (const each of found.graces) graces.set(...each);
      heldHash = assignmentHash(desired.tasks.values(), sha256);
      await recall();
      await gate.run(clear);
      await launchAll();
      await tellOthers();
    },
    async assign(assignment) {
      const why = await gate.run(() => take(assignment));
      await launchAll();
      if (!isKnown && desired !== nothingDesired) await tellOthers();
      return why;
    },
    get held() {
      return { epoch: desired.epoch, generation: desired.generation, hash: heldHash };
    },
    statuses: () => [...runners.values()].flatMap(({ spec, status }) => ended.get(spec.id) ?? status ?? []),
    sayAgain(task) {
      const status = runners.get(task)?.status;
      if (status !== undefined) onStatus({ ...status, uuid: newId(), at: clock.now() });
    },
    desired: () => desired.tasks.values(),
    running: () =>
      [...runners.values()].flatMap(({ spec, process, exceeded }) =>
        process === undefined
          ? []
          : { spec, directory: directories.of(spec.id), process, exceeded: (...why) => exceeded(process, ...why) },
      ),
    live: () => [...runners.values()].filter(runner => !runner.ended).map(({ spec, ready }) => ({ spec, ready })),
  };
}

function describeConflicts(tasks: readonly string[]): string | undefined {
  return tasks.length === 0 ? undefined : `assigned again with another spec, and left as they are: ${tasks.join(', ')}`;
}

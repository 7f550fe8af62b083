import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { chmod, chown, type FileHandle, mkdir, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { MesoliteError, messageOf } from '../base/errors.ts';
import type { TaskExit } from '../lifecycle/task-exit.ts';
import type { Cgroup, CgroupLimits, Cgroups } from './cgroup.ts';
import { whyNotExecutable } from './command.ts';
import { newId } from './dice.ts';
import { explain } from './file-errors.ts';
import type { Lowered } from './privileges.ts';
import { type ChildEnd, endOfChild, endOfRun, endOfStranger, type RunLeft, settle } from './process-end.ts';
import { identify, isAlive, type ProcessIdentity, ranMs, signalGroup } from './process-identity.ts';
import { beginRun, cancelRun, listRuns, readIdentity, readRanMs } from './run-directory.ts';
import { shell, shimScript } from './shim.ts';

/** A task's process with all that it started, which outlives the agent: one process group, and one cgroup where there are any. */
export interface RunningProcess {
  /** The leader of the group, whose id the group has. */
  readonly pid: number;
  /** How long it had run when it was started or found, in milliseconds. */
  readonly ranMs: number;
  /** How it ended, when the whole group is gone; undefined when the watching ended first. Never rejects. */
  readonly exited: Promise<TaskExit | undefined>;
  readonly cgroup: Cgroup | undefined;
  /** Signals the whole group, SIGKILL the whole cgroup; nothing happens when it is gone. */
  signal(name: NodeJS.Signals): void;
}

export interface StartRequest {
  readonly command: readonly string[];
  /** The whole environment: nothing of the agent's own is added. */
  readonly env: Readonly<Record<string, string>>;
  /** The task's directory; made where needed. The task starts in `sandbox` in it, and writes to `stdout.log` and `stderr.log`. */
  readonly directory: string;
  /** What the kernel is to hold it to, where it can. */
  readonly limits?: CgroupLimits;
  /** As whom it runs; as the agent when left out. */
  readonly as?: Lowered;
}

export type StartResult =
  | { readonly result: 'running'; readonly process: RunningProcess }
  /** Nothing runs; `permanent`: trying again is of no use. */
  | { readonly result: 'notStarted'; readonly message: string; readonly permanent: boolean };

export type Found =
  | { readonly result: 'running'; readonly process: RunningProcess }
  | { readonly result: 'ended'; readonly exit: TaskExit; readonly ranMs: number }
  /** It was never started here, and nothing that was about to start it will. */
  | { readonly result: 'absent' };

export interface Processes {
  /** Starts a task; aborting `signal` ends the watching, never the task. Throws CONFLICT when it runs already. */
  start(request: StartRequest, signal: AbortSignal): Promise<StartResult>;
  /** Finds what an earlier agent left in a task's directory. */
  adopt(directory: string, signal: AbortSignal): Promise<Found>;
}

export interface ProcessesSettings {
  /** How often a process that is not our child is looked at. */
  readonly pollMs?: number;
}

/** How often, and how many times, a shim that is just beginning is asked who it is. */
const identityMs = 25;
const identityRounds = 20;

const nobody: ProcessIdentity = { pid: 0, boot: '', start: '' };

/** Where a task works, below its directory. */
export const sandboxName = 'sandbox';

export interface ProcessesParts {
  readonly clock: Clock;
  /** Absent: tasks are held together by their process groups alone. */
  readonly cgroups?: Cgroups | undefined;
}

/** Starts tasks as children that outlive the agent, and finds them again. */
export function makeProcesses(parts: ProcessesParts, { pollMs = 2_000 }: ProcessesSettings = {}): Processes {
  const { clock, cgroups } = parts;
  return {
    async start(request, signal) {
      const { directory } = request;
      const before = await findRun(clock, directory, signal);
      if (before?.alive) {
        throw new MesoliteError('CONFLICT', `the task in ${directory} runs already, as process ${before.identity.pid}`);
      }
      let prepared: Prepared;
      try {
        prepared = await prepare(request);
      } catch (cause) {
        return { result: 'notStarted', message: `cannot prepare ${directory}: ${explain(cause)}`, permanent: false };
      }
      const why = await whyNotExecutable(request.command[0] ?? '', request.env, prepared.sandbox);
      if (why !== undefined) {
        await closeLogs(prepared);
        return { result: 'notStarted', message: why, permanent: true };
      }
      return launch(parts, request, prepared, signal);
    },

    async adopt(directory, signal) {
      const found = await findRun(clock, directory, signal);
      if (found === undefined) return { result: 'absent' };
      const { identity, run } = found;
      const cgroup = identity.cgroup === undefined ? undefined : cgroups?.find(identity.cgroup);
      const left = { identity, run, cgroup };
      if (found.alive) {
        const exited = settle(clock, endOfStranger(clock, pollMs, identity, signal), left, signal);
        return { result: 'running', process: runningProcess(left, ranMs(identity), exited) };
      }
      return { result: 'ended', exit: await endOfRun(clock, left, signal), ranMs: await readRanMs(run) };
    },
  };
}

interface Prepared {
  readonly run: string;
  readonly sandbox: string;
  readonly logs: readonly FileHandle[];
}

async function prepare({ directory, as }: StartRequest): Promise<Prepared> {
  const sandbox = join(directory, sandboxName);
  await mkdir(sandbox, { recursive: true, mode: 0o700 });
  if (as?.owner !== undefined) {
    // no more than the way to what is its own
    await chmod(directory, 0o711);
    await chown(sandbox, as.owner.uid, as.owner.gid);
  }
  const run = await beginRun(directory, newId());
  // appended to, so that a log can be cut while the task writes to it
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND;
  const stdout = await open(join(directory, 'stdout.log'), flags, 0o600);
  const stderr = await open(join(directory, 'stderr.log'), flags, 0o600);
  return { run, sandbox, logs: [stdout, stderr] };
}

async function closeLogs({ logs }: Prepared): Promise<void> {
  for (const log of logs) await log.close();
}

async function launch(
  { clock, cgroups }: ProcessesParts,
  request: StartRequest,
  prepared: Prepared,
  signal: AbortSignal,
): Promise<StartResult> {
  const { run, sandbox, logs } = prepared;
  let child: ChildProcess;
  let gone: Promise<ChildEnd | undefined>;
  let cgroup: Cgroup | undefined;
  try {
    // the name of a run is unique, the task's before it is for the eyes
    cgroup = cgroups?.make(`${basename(request.directory).slice(0, 100)}.${basename(run)}`, request.limits ?? {});
    child = spawn(
      shell,
      ['-c', shimScript, 'mesolite-task', run, cgroup?.path ?? '', ...(request.as?.prefix ?? []), ...request.command],
      {
        cwd: sandbox,
        env: request.env,
        // its own session: no signal meant for the agent reaches it, and its group can be signaled as one
        detached: true,
        stdio: ['ignore', ...logs.map(log => log.fd)],
      },
    );
    gone = endOfChild(child, signal);
    await spawned(child);
  } catch (cause) {
    await cgroup?.end(signal);
    // an argument list that is too long stays so; a table of processes that is full does not
    const permanent = cause instanceof Error && 'code' in cause && cause.code === 'E2BIG';
    return { result: 'notStarted', message: `cannot start a process: ${messageOf(cause)}`, permanent };
  } finally {
    await closeLogs(prepared);
  }
  const pid = child.pid ?? 0;
  const left = { identity: (await identify(pid)) ?? { ...nobody, pid }, run, cgroup };
  return { result: 'running', process: runningProcess(left, 0, settle(clock, gone, left, signal)) };
}

function runningProcess(
  { identity, cgroup }: RunLeft,
  ranMs: number,
  exited: Promise<TaskExit | undefined>,
): RunningProcess {
  const signal = (name: NodeJS.Signals) => {
    signalGroup(identity, name);
    if (name === 'SIGKILL') cgroup?.kill();
  };
  return { pid: identity.pid, ranMs, exited, cgroup, signal };
}

function spawned(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
}

interface FoundRun {
  readonly run: string;
  readonly identity: ProcessIdentity;
  readonly alive: boolean;
}

/** The run of a task that lives, or else the last that there was. */
async function findRun(clock: Clock, directory: string, signal: AbortSignal): Promise<FoundRun | undefined> {
  let last: FoundRun | undefined;
  for (const run of await listRuns(directory)) {
    if (await cancelRun(run)) continue;
    const identity = (await awaitIdentity(clock, run, signal)) ?? nobody;
    const found = { run, identity, alive: await isAlive(identity) };
    if (found.alive) return found;
    last = found;
  }
  return last;
}

/** A shim may be about to write who it is; a power cut may have left that file empty. */
async function awaitIdentity(clock: Clock, run: string, signal: AbortSignal): Promise<ProcessIdentity | undefined> {
  for (let round = 0; round < identityRounds; round++) {
    const identity = await readIdentity(run);
    if (identity !== undefined || !(await clock.sleep(identityMs, signal))) return identity;
  }
  return undefined;
}

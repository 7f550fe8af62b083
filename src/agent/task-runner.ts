import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import { isMesoliteError, messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { onAbort } from '../base/signal.ts';
import { checkExec } from '../device/exec-check.ts';
import { checkHealth, type HealthResult } from '../device/health.ts';
import type { Lowered, Privileges } from '../device/privileges.ts';
import { type Processes, type RunningProcess, sandboxName } from '../device/process.ts';
import { clearProgress } from '../device/progress-file.ts';
import type { HealthRules } from '../lifecycle/health-state.ts';
import {
  hasEnded,
  isOpen,
  type Limited,
  newTaskLife,
  type TaskEvent,
  type TaskLife,
  type TaskStep,
} from '../lifecycle/task-life.ts';
import { advance } from '../lifecycle/task-machine.ts';
import { fetchReason } from '../lifecycle/task-report.ts';
import { isTerminal, type TaskSpec, type TaskStatus } from '../model/task.ts';
import type { Artifacts } from './artifacts.ts';
import type { TaskIdentities } from './task-identities.ts';
import { cgroupLimitsOf } from './task-limits.ts';

/** Carries out what the task machine decides for one task. */
export interface TaskRunner {
  readonly spec: TaskSpec;
  readonly ended: boolean;
  readonly ready: boolean;
  /** The newest status before its end; a task that was not yet begun has none. */
  readonly status: TaskStatus | undefined;
  /** Finds what an earlier agent left of it, and starts it where there is nothing. */
  begin(): Promise<void>;
  /** What runs of it now. */
  readonly process: RunningProcess | undefined;
  kill(message: string): void;
  /** What `process` was has taken more than it may have. */
  exceeded(process: RunningProcess, what: Limited, message: string): void;
}

export interface TaskRunnerParts {
  readonly processes: Processes;
  readonly lower: Privileges['lower'];
  readonly clock: Clock;
  readonly random: Random;
  readonly newId: () => string;
  readonly log: Log;
  /** The whole environment of the task. */
  /** What of it are files is for `owner` to read. */
  readonly environmentOf: (spec: TaskSpec, owner?: Lowered['owner']) => Readonly<Record<string, string>>;
  readonly artifacts: Pick<Artifacts, 'place'>;
  readonly identities: Pick<TaskIdentities, 'ready'>;
  readonly onStatus: (status: TaskStatus) => void;
  /** It may be called through the mesh from now on, or no more. */
  readonly onReady: (ready: boolean) => void;
  /** Hears of the terminal status in place of `onStatus`. */
  readonly onEnded: (status: TaskStatus) => void;
}

/** What nobody mends by waiting. */
const hopeless = ['INVALID_INPUT', 'TOO_LARGE', 'UNTRUSTED'] as const;

/** `signal` ends the watching, never the task. One that an earlier agent saw end is told so by `hasEnded`: nothing happens to it. */
export function makeTaskRunner(
  parts: TaskRunnerParts,
  settings: { readonly spec: TaskSpec; readonly directory: string; readonly hasEnded: boolean },
  signal: AbortSignal,
): TaskRunner {
  const { processes, clock, random, newId, environmentOf, artifacts, identities, onStatus, onReady, onEnded } = parts;
  const { spec, directory } = settings;
  const log = parts.log.with({ task: spec.id });
  let life: TaskLife = settings.hasEnded ? { ...newTaskLife(spec), now: { phase: 'ended' } } : newTaskLife(spec);
  const killed = new AbortController();
  let status: TaskStatus | undefined;
  let running: RunningProcess | undefined;
  let cancelWake: () => void = () => {};
  let forgetSignal: () => void = () => {};

  function on(event: TaskEvent): void {
    if (signal.aborted) return;
    const next = advance(life, event, clock.monotonic(), random);
    life = next.life;
    cancelWake();
    const { wakeAt } = next;
    cancelWake =
      wakeAt === undefined ? () => {} : clock.after(Math.max(0, wakeAt - clock.monotonic()), () => on({ on: 'wake' }));
    for (const step of next.steps) carryOut(step);
  }

  function carryOut(step: TaskStep): void {
    switch (step.do) {
      case 'start':
        start(step.run).catch(error => {
          on({ on: 'notStarted', run: step.run, message: messageOf(error), permanent: false });
        });
        return;
      case 'signal':
        running?.signal(step.signal);
        return;
      case 'check':
        check(step.run).catch(error => log.error('a health check failed', { error }));
        return;
      case 'ready':
        onReady(step.ready);
        return;
      case 'report':
        say({ ...step.status, uuid: newId(), task: spec.id, at: clock.now() });
        return;
      default:
        step satisfies never;
    }
  }

  function say(news: TaskStatus): void {
    if (isTerminal(news.state)) {
      forgetSignal();
      onEnded(news);
      return;
    }
    status = news;
    onStatus(news);
  }

  /** False when it is told already that the task cannot start. */
  async function prepare(run: number, owner: Lowered['owner']): Promise<boolean> {
    try {
      const say = (message: string) => on({ on: 'progress', run, message });
      const ended = AbortSignal.any([signal, killed.signal]);
      await artifacts.place(spec.artifacts ?? [], directory, say, ended, owner);
      await identities.ready(spec, say, ended);
      return true;
    } catch (error) {
      const permanent = hopeless.some(code => isMesoliteError(error, code));
      on({ on: 'notStarted', run, message: messageOf(error), permanent, reason: fetchReason });
      return false;
    }
  }

  async function start(run: number): Promise<void> {
    const as = await parts.lower(spec.user, spec.capabilities ?? []);
    if ('why' in as) {
      on({ on: 'notStarted', run, message: as.why, permanent: true });
      return;
    }
    if (!(await prepare(run, as.owner))) return;
    await clearProgress(join(directory, sandboxName));
    const env = environmentOf(spec, as.owner);
    const request = { command: spec.command, env, directory, limits: cgroupLimitsOf(spec), as };
    const started = await processes.start(request, signal);
    if (started.result === 'notStarted') {
      on({ on: 'notStarted', run, message: started.message, permanent: started.permanent });
      return;
    }
    follow(run, started.process);
    on({ on: 'started', run, pid: started.process.pid });
  }

  function follow(run: number, process: RunningProcess): void {
    running = process;
    void process.exited.then(exit => {
      if (running === process) running = undefined;
      if (exit !== undefined) on({ on: 'exited', run, exit });
    });
  }

  async function ask({ type, port: name, command, path, timeoutMs }: HealthRules): Promise<HealthResult> {
    if (type === 'exec') {
      const as = await parts.lower(spec.user, spec.capabilities ?? []);
      if ('why' in as) return { healthy: false, message: as.why };
      const request = {
        command: command ?? [],
        prefix: as.prefix,
        env: environmentOf(spec, as.owner),
        cwd: join(directory, sandboxName),
        group: running?.cgroup?.path,
      };
      return checkExec(clock, { ...request, timeoutMs }, signal);
    }
    const port = spec.ports.find(each => each.name === name)?.number ?? 0;
    return checkHealth(clock, { type, host: '127.0.0.1', port, path, timeoutMs }, signal);
  }

  async function check(run: number): Promise<void> {
    const { health } = spec;
    if (health === undefined) return;
    const { healthy, message } = await ask(health);
    on({ on: 'checked', run, healthy, message });
  }

  return {
    spec,
    get ended() {
      return hasEnded(life);
    },
    get ready() {
      return isOpen(life);
    },
    get status() {
      return status;
    },
    async begin() {
      if (hasEnded(life)) return;
      forgetSignal = onAbort(signal, () => cancelWake());
      const found = await processes.adopt(directory, signal);
      switch (found.result) {
        case 'running':
          // the machine numbers its runs: what is found is the first
          follow(life.run + 1, found.process);
          on({ on: 'found', pid: found.process.pid, ranMs: found.process.ranMs });
          return;
        case 'ended':
          on({ on: 'foundEnded', exit: found.exit, ranMs: found.ranMs });
          return;
        case 'absent':
          on({ on: 'launch' });
          return;
        default:
          found satisfies never;
      }
    },
    kill(message) {
      on({ on: 'kill', message });
      killed.abort();
    },
    get process() {
      return running;
    },
    exceeded(process, what, message) {
      if (process === running) on({ on: 'exceeded', run: life.run, what, message });
    },
  };
}

import type { Random } from '../base/random.ts';
import { afterCheck, beginHealth, checking, isUnhealthy } from './health-state.ts';
import { failuresAfter, type RunOutcome, restartDelayMs, shouldRestart } from './restart.ts';
import { isSuccess, type TaskExit } from './task-exit.ts';
import {
  isOpen,
  isReady,
  type Stop,
  type TaskEvent,
  type TaskLife,
  type TaskPhase,
  type TaskReport,
  type TaskStep,
  wakeAt,
} from './task-life.ts';
import {
  exitFacts,
  failedReason,
  healthReason,
  inARow,
  killedDuringLaunch,
  limitReasons,
  maxRunReason,
  report,
  stopReport,
} from './task-report.ts';

export interface Transition {
  readonly life: TaskLife;
  /** In the order in which they are to be done. */
  readonly steps: readonly TaskStep[];
  /** The one moment at which to send `wake`; it replaces the one before. */
  readonly wakeAt: number | undefined;
}

type Change = readonly [TaskLife, ...TaskStep[]];
type Running = Extract<TaskPhase, { phase: 'running' }>;

/** How long after a SIGKILL the next one follows: processes can be stuck in the kernel. */
const killAgainMs = 5_000;

/** The next state of a task and what is to be done; `now` is monotonic, in milliseconds. Events that do not fit the state change nothing. */
export function advance(life: TaskLife, event: TaskEvent, now: number, random: Random): Transition {
  const [next, ...steps] = react(life, event, now, random);
  const ready = isOpen(next);
  if (ready && !isOpen(life)) steps.push({ do: 'ready', ready });
  // the endpoint closes before the process is told to go
  if (!ready && isOpen(life)) steps.unshift({ do: 'ready', ready });
  return { life: next, steps, wakeAt: wakeAt(next) };
}

function react(life: TaskLife, event: TaskEvent, now: number, random: Random): Change {
  if ('run' in event && event.run !== life.run) return [life];
  switch (event.on) {
    case 'launch':
      return life.now.phase === 'staging' ? start(life) : [life];
    case 'found':
      return life.now.phase === 'staging' ? attach(life, event, now) : [life];
    case 'foundEnded':
      return life.now.phase === 'staging' ? learnEnd(life, event, now, random) : [life];
    case 'progress':
      return life.now.phase === 'starting' && life.now.stop === undefined ? tell(life, event.message) : [life];
    case 'started':
      return life.now.phase === 'starting' ? run(life, event.pid, life.now.stop, now) : [life];
    case 'notStarted':
      return life.now.phase === 'starting' ? refuse(life, event, life.now.stop, now, random) : [life];
    case 'exited':
      return life.now.phase === 'running' ? leave(life, life.now, event.exit, now, random) : [life];
    case 'checked':
      return life.now.phase === 'running' ? judge(life, life.now, event, now) : [life];
    case 'exceeded':
      return life.now.phase === 'running' ? exceed(life, life.now, event, now) : [life];
    case 'kill':
      return kill(life, event.message, now);
    case 'wake':
      return wake(life, now);
    default:
      return event satisfies never;
  }
}

function start(life: TaskLife, restarts = life.restarts): Change {
  const next: TaskLife = { ...life, run: life.run + 1, restarts, now: { phase: 'starting' } };
  return [next, report(next, { state: 'TASK_STARTING' }), { do: 'start', run: next.run }];
}

function tell(life: TaskLife, message: string): Change {
  return [life, report(life, { state: 'TASK_STARTING', message })];
}

function run(life: TaskLife, pid: number, stop: Stop | undefined, now: number): Change {
  const running: Running = { phase: 'running', pid, startedAt: now, ...healthOf(life, now) };
  if (stop !== undefined) return end(life, running, stop, now);
  const next = { ...life, now: running };
  return [next, report(next, { state: 'TASK_RUNNING', pid })];
}

/** Takes over a run that an earlier agent started: nothing happens to it, and its health is asked for at once. */
function attach(life: TaskLife, { pid, ranMs }: { pid: number; ranMs: number }, now: number): Change {
  const next: TaskLife = {
    ...life,
    run: life.run + 1,
    now: { phase: 'running', pid, startedAt: now - ranMs, ...healthOf(life, now, 0) },
  };
  return [next, report(next, { state: 'TASK_RUNNING', pid, message: 'found running by a restarted agent' })];
}

function learnEnd(life: TaskLife, ended: { exit: TaskExit; ranMs: number }, now: number, random: Random): Change {
  // what a power cut ended starts again without a wait
  if (ended.exit.kind === 'unknown' && shouldRestart(life.spec.restart, 'unseen', 0)) {
    return start(life, life.restarts + 1);
  }
  return conclude({ ...life, run: life.run + 1 }, ended.exit, ended.ranMs, undefined, now, random);
}

function refuse(
  life: TaskLife,
  { message, permanent, reason = failedReason }: { message: string; permanent: boolean; reason?: string },
  stop: Stop | undefined,
  now: number,
  random: Random,
): Change {
  if (stop !== undefined) return finish(life, { ...killedDuringLaunch, message: stop.message });
  const failures = life.failures + 1;
  if (permanent || !shouldRestart(life.spec.restart, 'failure', failures)) {
    return finish(life, { state: 'TASK_FAILED', reason, message });
  }
  return pause({ ...life, failures }, { reason, message }, now, random);
}

function leave(life: TaskLife, running: Running, exit: TaskExit, now: number, random: Random): Change {
  return conclude(life, exit, Math.max(0, Math.round(now - running.startedAt)), running.stop, now, random);
}

/** A run is over: the task has ended, or waits for its next run. */
function conclude(
  life: TaskLife,
  exit: TaskExit,
  ranMs: number,
  stop: Stop | undefined,
  now: number,
  random: Random,
): Change {
  const facts = exitFacts(exit, ranMs, stop);
  if (stop?.cause === 'kill') return finish(life, { state: 'TASK_KILLED', ...facts });
  if (stop?.cause === 'maxRun') return finish(life, { state: 'TASK_FAILED', reason: maxRunReason, ...facts });
  // what lies on its disk would only end it again
  if (stop?.cause === 'disk') return finish(life, { state: 'TASK_FAILED', reason: limitReasons.disk, ...facts });
  const outcome = outcomeOf(exit, stop);
  const rules = life.spec.restart;
  if (outcome === 'success' && rules.policy !== 'always') return finish(life, { state: 'TASK_FINISHED', ...facts });
  const failures = failuresAfter(rules, outcome, life.failures, ranMs);
  const told = { ...facts, reason: reasonOf(exit, stop), message: inARow(facts.message, failures) };
  if (shouldRestart(rules, outcome, failures)) return pause({ ...life, failures }, told, now, random);
  if (outcome === 'unseen') return finish(life, { state: 'TASK_LOST', reason: 'REASON_AGENT_RESTARTED', ...facts });
  return finish(life, { state: 'TASK_FAILED', ...told });
}

function outcomeOf(exit: TaskExit, stop: Stop | undefined): RunOutcome {
  // whatever it says when it is stopped for ill health, it did not succeed
  if (stop !== undefined) return 'failure';
  if (exit.kind === 'unknown' && exit.outOfMemory !== true) return 'unseen';
  return isSuccess(exit) ? 'success' : 'failure';
}

function reasonOf(exit: TaskExit, stop: Stop | undefined): string {
  if (stop?.cause === 'memory' || exit.outOfMemory === true) return limitReasons.memory;
  return stop === undefined ? failedReason : healthReason;
}

function pause(life: TaskLife, why: Omit<TaskReport, 'state'>, now: number, random: Random): Change {
  const delayMs = restartDelayMs(life.spec.restart, life.failures, random);
  const next: TaskLife = { ...life, now: { phase: 'waiting', resumeAt: now + delayMs } };
  const message = `${why.message}; starts again in ${(delayMs / 1000).toFixed(1)} s`;
  return [next, report(next, { ...why, state: 'TASK_STARTING', message })];
}

function finish(life: TaskLife, status: TaskReport): Change {
  const next: TaskLife = { ...life, now: { phase: 'ended' } };
  return [next, report(next, status)];
}

function kill(life: TaskLife, message: string, now: number): Change {
  const stop: Stop = { cause: 'kill', message };
  switch (life.now.phase) {
    case 'staging':
      return finish(life, { ...killedDuringLaunch, message });
    case 'waiting':
      return finish(life, { state: 'TASK_KILLED', message });
    case 'starting': {
      if (life.now.stop !== undefined) return [life];
      const next: TaskLife = { ...life, now: { phase: 'starting', stop } };
      return [next, report(next, { state: 'TASK_KILLING', message })];
    }
    case 'running': {
      if (life.now.stop === undefined) return end(life, life.now, stop, now);
      if (life.now.stop.cause !== 'unhealthy') return [life];
      const next: TaskLife = { ...life, now: { ...life.now, stop: { ...life.now.stop, ...stop } } };
      return [next, report(next, { state: 'TASK_KILLING', message })];
    }
    case 'ended':
      return [life];
    default:
      return life.now satisfies never;
  }
}

/** Tells the processes to go, once callers have heard of it; SIGKILL follows after the grace. */
function end(life: TaskLife, running: Running, stop: Stop, now: number): Change {
  const { killGraceMs, shutdownDelayMs = 0 } = life.spec;
  if (shutdownDelayMs > 0 && stop.cause === 'kill' && isReady({ ...life, now: running })) {
    const waits = { ...running, stop: { ...stop, signalAt: now + shutdownDelayMs, isTold: false } };
    const next: TaskLife = { ...life, now: waits };
    return [next, report(next, stopReport(stop, running.pid))];
  }
  const next: TaskLife = { ...life, now: { ...running, stop: { ...stop, signalAt: now + killGraceMs, isTold: true } } };
  return [next, report(next, stopReport(stop, running.pid)), { do: 'signal', signal: 'SIGTERM' }];
}

/** No grace for what takes from others: that is what the kernel does, too. */
function exceed(
  life: TaskLife,
  running: Running,
  { what, message }: Extract<TaskEvent, { on: 'exceeded' }>,
  now: number,
): Change {
  if (running.stop !== undefined) return [life, { do: 'signal', signal: 'SIGKILL' }];
  const stop = { cause: what, message, signalAt: now + killAgainMs, isTold: true };
  const next: TaskLife = { ...life, now: { ...running, stop } };
  return [next, report(next, stopReport(stop, running.pid)), { do: 'signal', signal: 'SIGKILL' }];
}

function wake(life: TaskLife, now: number): Change {
  const due = wakeAt(life);
  if (due === undefined || now < due) return [life];
  if (life.now.phase === 'waiting') return start(life, life.restarts + 1);
  if (life.now.phase !== 'running') return [life];
  const { stop, health, startedAt } = life.now;
  if (stop?.isTold === false) {
    const told = { ...stop, signalAt: now + life.spec.killGraceMs, isTold: true };
    return [
      { ...life, now: { ...life.now, stop: told } },
      { do: 'signal', signal: 'SIGTERM' },
    ];
  }
  if (stop !== undefined) {
    const next: TaskLife = { ...life, now: { ...life.now, stop: { ...stop, signalAt: now + killAgainMs } } };
    return [next, { do: 'signal', signal: 'SIGKILL' }];
  }
  const { maxRunMs } = life.spec;
  if (maxRunMs !== undefined && now >= startedAt + maxRunMs) {
    return end(life, life.now, { cause: 'maxRun', message: `ran for its longest time of ${maxRunMs / 1000} s` }, now);
  }
  if (health === undefined) return [life];
  return [
    { ...life, now: { ...life.now, health: checking(health) } },
    { do: 'check', run: life.run },
  ];
}

function judge(life: TaskLife, running: Running, check: { healthy: boolean; message: string }, now: number): Change {
  const rules = life.spec.health;
  // a result that nobody waits for, or of a run that is ending, says nothing any more
  if (rules === undefined || running.health === undefined || running.health.nextAt !== undefined) return [life];
  if (running.stop !== undefined) return [life];
  const health = afterCheck(rules, running.health, check.healthy, now);
  const next: TaskLife = { ...life, now: { ...running, health } };
  if (isUnhealthy(rules, health, now)) {
    const message = `unhealthy after ${health.failures} failed checks: ${check.message}`;
    return end(next, { ...running, health }, { cause: 'unhealthy', message }, now);
  }
  if (health.passed === running.health.passed) return [next];
  return [next, report(next, { state: 'TASK_RUNNING', reason: healthReason, pid: running.pid })];
}

function healthOf(life: TaskLife, now: number, delayMs?: number) {
  const rules = life.spec.health;
  return rules === undefined ? {} : { health: beginHealth(rules, now, delayMs) };
}

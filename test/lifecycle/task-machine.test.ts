import t from 'tap';
import type { TaskExit } from '../../src/lifecycle/task-exit.ts';
import {
  isOpen,
  isReady,
  newTaskLife,
  type TaskEvent,
  type TaskLife,
  type TaskReport,
  type TaskStep,
} from '../../src/lifecycle/task-life.ts';
import { advance } from '../../src/lifecycle/task-machine.ts';
import type { TaskSpec } from '../../src/model/task.ts';
import { restarting, taskSpec } from '../fixtures/task-spec.ts';

/** Plays events to one task and keeps what it wants done. */
class Play {
  life: TaskLife;
  now = 1_000;
  wakeAt: number | undefined;
  steps: readonly TaskStep[] = [];
  readonly reports: TaskReport[] = [];

  constructor(changes: Partial<TaskSpec> = {}) {
    this.life = newTaskLife(taskSpec(changes));
  }

  send(event: TaskEvent): this {
    const next = advance(this.life, event, this.now, () => 0.5);
    this.life = next.life;
    this.steps = next.steps;
    this.wakeAt = next.wakeAt;
    for (const step of next.steps) if (step.do === 'report') this.reports.push(step.status);
    return this;
  }

  /** Goes to the next moment that the task wants and wakes it. */
  wake(): this {
    this.now = this.wakeAt ?? Number.NaN;
    return this.send({ on: 'wake' });
  }

  run(): this {
    return this.send({ on: 'launch' }).send({ on: 'started', run: this.life.run, pid: 42 });
  }

  exit(exit: TaskExit): this {
    return this.send({ on: 'exited', run: this.life.run, exit });
  }

  check(healthy: boolean): this {
    return this.send({ on: 'checked', run: this.life.run, healthy, message: 'status 500' });
  }

  get states(): string[] {
    return this.reports.map(({ state }) => state);
  }

  get last(): TaskReport | undefined {
    return this.reports.at(-1);
  }

  get wants(): string[] {
    return this.steps.map(step => (step.do === 'signal' ? step.signal : step.do));
  }
}

const code = (code: number): TaskExit => ({ kind: 'exited', code });
const unseen: TaskExit = { kind: 'unknown' };
const health = {
  type: 'http',
  port: 'http',
  path: '/',
  intervalMs: 10_000,
  timeoutMs: 1_000,
  initialDelayMs: 1_000,
  threshold: 3,
} as const;

t.test('a task that takes too much is ended at once; of memory it may try again, of disk not', async t => {
  const play = new Play(restarting('always', 9)).run();
  play.send({ on: 'exceeded', run: 1, what: 'memory', message: 'took 70 MB' });
  t.match(play.steps, [{ do: 'ready' }, { do: 'report' }, { do: 'signal', signal: 'SIGKILL' }]);
  t.match(play.last, { state: 'TASK_KILLING', reason: 'REASON_CONTAINER_LIMITATION_MEMORY' });
  play.exit({ kind: 'unknown' });
  t.match(play.last, {
    state: 'TASK_STARTING',
    reason: 'REASON_CONTAINER_LIMITATION_MEMORY',
    message: /^took 70 MB; /,
  });
  play.wake().send({ on: 'started', run: 2, pid: 43 });
  play.send({ on: 'exceeded', run: 1, what: 'disk', message: 'of the run before' });
  t.match(play.last, { state: 'TASK_RUNNING' });
  play
    .send({ on: 'exceeded', run: 2, what: 'disk', message: 'took 9 MB' })
    .exit({ kind: 'signaled', signal: 'SIGKILL' });
  t.match(play.last, {
    state: 'TASK_FAILED',
    reason: 'REASON_CONTAINER_LIMITATION_DISK',
    message: 'took 9 MB; ended by SIGKILL',
  });
});

t.test('what the kernel ends for want of memory is told apart from a crash', async t => {
  const play = new Play(restarting('onFailure', 1))
    .run()
    .exit({ kind: 'signaled', signal: 'SIGKILL', outOfMemory: true });
  t.match(play.last, {
    state: 'TASK_FAILED',
    reason: 'REASON_CONTAINER_LIMITATION_MEMORY',
    message: /^out of memory; ended by SIGKILL/,
  });
  const bomb = new Play(restarting('onFailure', 1)).run().exit({ kind: 'exited', code: 2, outOfProcesses: true });
  t.match(bomb.last, {
    state: 'TASK_FAILED',
    reason: 'REASON_COMMAND_EXECUTOR_FAILED',
    message: /^was refused a process; exit code 2/,
  });
  const done = new Play().run().exit({ kind: 'exited', code: 0, outOfProcesses: true });
  t.match(done.last, { state: 'TASK_FINISHED', message: /^exit code 0/ });
});

t.test('a task that ends with 0 goes from STARTING over RUNNING to FINISHED', async t => {
  const play = new Play().run();
  play.now += 250;
  play.exit(code(0));
  t.strictSame(play.states, ['TASK_STARTING', 'TASK_RUNNING', 'TASK_FINISHED']);
  t.match(play.last, { exitCode: 0, ranMs: 250, restarts: 0, ready: false });
  t.equal(play.wakeAt, undefined, 'nothing is waited for');
});

t.test('a task that ends otherwise has failed, and says how', async t => {
  t.match(new Play().run().exit(code(3)).last, { state: 'TASK_FAILED', exitCode: 3, message: 'exit code 3' });
  t.match(new Play().run().exit({ kind: 'signaled', signal: 'SIGSEGV' }).last, {
    state: 'TASK_FAILED',
    signal: 'SIGSEGV',
    reason: 'REASON_COMMAND_EXECUTOR_FAILED',
  });
  t.match(new Play().run().exit(code(127)).last?.message, /was not found/);
});

t.test('a command that can never start fails the task at once, whatever its restart policy', async t => {
  const play = new Play(restarting('always')).send({ on: 'launch' });
  play.send({ on: 'notStarted', run: 1, message: 'nosuch: command not found', permanent: true });
  t.match(play.last, { state: 'TASK_FAILED', message: 'nosuch: command not found' });
});

t.test('a start that failed for a passing reason is tried again', async t => {
  const play = new Play(restarting('onFailure')).send({ on: 'launch' });
  play.send({ on: 'notStarted', run: 1, message: 'no process is free', permanent: false });
  t.equal(play.last?.state, 'TASK_STARTING');
  play.wake();
  t.strictSame(play.wants, ['report', 'start']);
});

t.test('failures are followed by longer and longer waits, until there were as many in a row as allowed', async t => {
  const play = new Play(restarting('onFailure', 3)).run().exit(code(1));
  const waits = [(play.wakeAt ?? 0) - play.now];
  play.wake().send({ on: 'started', run: 2, pid: 43 }).exit(code(1));
  t.match(play.last, { state: 'TASK_STARTING', message: /exit code 1, failure 2 in a row; starts again in 1\.1 s/ });
  waits.push((play.wakeAt ?? 0) - play.now);
  t.strictSame(waits, [550, 1_100]);
  play.wake().send({ on: 'started', run: 3, pid: 44 }).exit(code(1));
  t.match(play.last, { state: 'TASK_FAILED', restarts: 2, message: /failure 3 in a row/ });
});

t.test(
  'a service that nobody has bounded is tried for as long as it takes, never more than its longest wait apart',
  async t => {
    const play = new Play(restarting('always', Number.MAX_SAFE_INTEGER)).run().exit(code(1));
    for (let run = 2; run <= 2_000; run++) play.wake().send({ on: 'started', run, pid: 43 }).exit(code(1));
    t.match(play.last, { state: 'TASK_STARTING', restarts: 1_999, message: /failure 2000 in a row/ });
    t.equal((play.wakeAt ?? 0) - play.now, 33_000);
  },
);

t.test('a long run clears the count of failures', async t => {
  const play = new Play(restarting('onFailure', 2)).run().exit(code(1)).wake();
  play.send({ on: 'started', run: 2, pid: 43 });
  play.now += 10_000;
  play.exit(code(1));
  t.equal(play.last?.state, 'TASK_STARTING', 'it is started once more');
});

t.test('a task that shall always run is started again after an end with 0', async t => {
  const play = new Play(restarting('always')).run().exit(code(0));
  t.match(play.last, { state: 'TASK_STARTING', exitCode: 0, ready: false });
  t.match(play.wake().last, { state: 'TASK_STARTING', restarts: 1 });
});

t.test('a kill sends SIGTERM, after the grace SIGKILL, again if need be, and ends in KILLED', async t => {
  const play = new Play().run().send({ on: 'kill', message: 'removed' });
  t.strictSame(play.wants, ['ready', 'report', 'SIGTERM'], 'the endpoint closes first');
  t.equal((play.wakeAt ?? 0) - play.now, 5_000);
  t.strictSame(play.wake().wants, ['SIGKILL']);
  t.strictSame(play.wake().wants, ['SIGKILL']);
  play.exit({ kind: 'signaled', signal: 'SIGKILL' });
  t.strictSame(play.states.slice(-2), ['TASK_KILLING', 'TASK_KILLED']);
  t.match(play.last, { message: 'removed; ended by SIGKILL', signal: 'SIGKILL' });
});

t.test('a killed task is not started again, even when it ends with 0', async t => {
  const play = new Play(restarting('always')).run().send({ on: 'kill', message: 'removed' }).exit(code(0));
  t.equal(play.last?.state, 'TASK_KILLED');
  t.equal(play.wakeAt, undefined);
});

t.test('a kill reaches a task in every phase', async t => {
  const kill: TaskEvent = { on: 'kill', message: 'removed' };
  const duringLaunch = { state: 'TASK_KILLED', reason: 'REASON_TASK_KILLED_DURING_LAUNCH' };
  t.match(new Play().send(kill).last, duringLaunch, 'before its start');

  const starting = new Play().send({ on: 'launch' }).send(kill);
  t.equal(starting.last?.state, 'TASK_KILLING');
  starting.send({ on: 'started', run: 1, pid: 42 });
  t.strictSame(starting.wants, ['report', 'SIGTERM'], 'while it starts');
  const failing = new Play().send({ on: 'launch' }).send(kill);
  t.match(failing.send({ on: 'notStarted', run: 1, message: 'x', permanent: false }).last, duringLaunch);

  const waiting = new Play(restarting('always')).run().exit(code(1)).send(kill);
  t.equal(waiting.last?.state, 'TASK_KILLED', 'between two runs');
});

t.test('a run over its longest time is ended and failed, not started again', async t => {
  const play = new Play({ ...restarting('always'), maxRunMs: 60_000 }).run();
  t.equal((play.wakeAt ?? 0) - play.now, 60_000);
  t.strictSame(play.wake().wants, ['ready', 'report', 'SIGTERM']);
  t.match(play.exit(code(0)).last, { state: 'TASK_FAILED', reason: 'REASON_MAX_COMPLETION_TIME_REACHED' });
});

t.test('without a health check a task is ready once it runs', async t => {
  const play = new Play().run();
  t.strictSame(play.wants, ['report', 'ready']);
  t.equal(play.last?.ready, true);
});

t.test('with one it is ready when the check has passed', async t => {
  const play = new Play({ health }).run();
  t.equal(play.last?.ready, false);
  t.equal((play.wakeAt ?? 0) - play.now, 1_000, 'the initial delay');
  t.strictSame(play.wake().wants, ['check']);
  t.equal(play.wakeAt, undefined, 'one check at a time');
  play.check(false);
  t.equal((play.wakeAt ?? 0) - play.now, 500, 'a starting task is asked often');
  play.wake().check(true);
  t.strictSame(play.wants, ['report', 'ready']);
  t.match(play.last, { state: 'TASK_RUNNING', ready: true, reason: 'REASON_TASK_HEALTH_CHECK_STATUS_UPDATED' });
  t.equal((play.wakeAt ?? 0) - play.now, 10_000);
});

t.test('a task that fails its checks in a row is ended and started again', async t => {
  const play = new Play({ ...restarting('onFailure'), health }).run().wake().check(true);
  play.wake().check(false).wake().check(false);
  t.strictSame(play.wants, [], 'twice is not yet three times');
  play.wake().check(false);
  t.strictSame(play.wants, ['ready', 'report', 'SIGTERM']);
  t.match(play.last, { state: 'TASK_RUNNING', ready: false, message: /3 failed checks: status 500/ });
  play.exit(code(0));
  t.match(play.last, { state: 'TASK_STARTING' }, 'an orderly end does not make it a success');
  t.strictSame(play.wake().wants, ['report', 'start']);
});

t.test('a check that passes in between clears the count', async t => {
  const play = new Play({ health }).run().wake().check(true);
  for (const healthy of [false, false, true, false, false]) play.wake().check(healthy);
  t.equal(play.last?.ready, true);
});

t.test('a task that never gets healthy has as many intervals as the threshold says', async t => {
  const play = new Play({ health }).run();
  const began = play.now;
  while (play.last?.message === undefined) play.wake().check(false);
  t.equal(play.now - began, 31_000);
});

t.test('in its grace period a task may fail its checks, and has the same time after it', async t => {
  const play = new Play({ health: { ...health, gracePeriodMs: 60_000 } }).run();
  const began = play.now;
  while (play.last?.message === undefined) play.wake().check(false);
  t.equal(play.now - began, 90_000);
});

t.test('a task that is killed while it is ended for ill health is killed', async t => {
  const play = new Play({ ...restarting('always'), health }).run().wake().check(true);
  for (let i = 0; i < 3; i++) play.wake().check(false);
  play.send({ on: 'kill', message: 'removed' });
  t.strictSame(play.wants, ['report'], 'SIGTERM is on its way already');
  t.equal(play.exit(code(0)).last?.state, 'TASK_KILLED');
});

t.test('news of an earlier run says nothing', async t => {
  const play = new Play({ ...restarting('always'), health }).run().wake();
  play.exit(code(1)).wake().send({ on: 'started', run: 2, pid: 43 });
  const before = play.life;
  play.send({ on: 'checked', run: 1, healthy: true, message: '' }).send({ on: 'exited', run: 1, exit: code(0) });
  t.equal(play.life, before);
});

t.test('a task that is found running is left alone, and asked for its health at once', async t => {
  const play = new Play({ health, maxRunMs: 60_000 }).send({ on: 'found', pid: 42, ranMs: 50_000 });
  t.strictSame(play.states, ['TASK_RUNNING']);
  t.strictSame(play.wake().wants, ['check']);
  play.check(true);
  t.equal((play.wakeAt ?? 0) - play.now, 10_000, 'its time ran on while the agent was away');
});

t.test('the end of a task that the agent missed is learnt afterwards', async t => {
  const finished = new Play().send({ on: 'foundEnded', exit: code(0), ranMs: 70 });
  t.match(finished.last, { state: 'TASK_FINISHED', ranMs: 70, exitCode: 0 });
  const failed = new Play(restarting('onFailure')).send({ on: 'foundEnded', exit: code(1), ranMs: 70 });
  t.equal(failed.last?.state, 'TASK_STARTING');
});

t.test('what a power cut has ended starts again at once, and is lost if it must not', async t => {
  const again = new Play(restarting('onFailure')).send({ on: 'foundEnded', exit: unseen, ranMs: 0 });
  t.strictSame(again.wants, ['report', 'start']);
  t.equal(again.last?.restarts, 1);
  t.match(new Play().send({ on: 'foundEnded', exit: unseen, ranMs: 0 }).last, {
    state: 'TASK_LOST',
    reason: 'REASON_AGENT_RESTARTED',
  });
});

t.test('an end that nobody saw does not count as a failure', async t => {
  const play = new Play(restarting('always', 1)).send({ on: 'found', pid: 42, ranMs: 0 }).exit(unseen);
  t.equal(play.last?.state, 'TASK_STARTING');
  t.equal(play.life.failures, 0);
});

t.test('a message is cut to what a status may carry', async t => {
  const play = new Play().send({ on: 'kill', message: 'x'.repeat(5_000) });
  t.equal(play.last?.message?.length, 1_024);
});

t.test('a task that serves is called not ready some time before it is told to go, and serves until then', async t => {
  const play = new Play({ shutdownDelayMs: 1_000 }).run();
  play.send({ on: 'kill', message: 'the job was removed' });
  t.same(play.wants, ['report']);
  t.match(play.last, { state: 'TASK_KILLING', ready: false });
  t.ok(isOpen(play.life) && !isReady(play.life));
  const asked = play.now;
  play.wake();
  t.equal(play.now, asked + 1_000);
  t.same(play.wants, ['ready', 'SIGTERM'], 'the endpoint closes first');
  play.wake();
  t.equal(play.now, asked + 6_000);
  t.same(play.wants, ['SIGKILL']);
  const unwell = new Play({ shutdownDelayMs: 1_000, health }).run().send({ on: 'kill', message: 'x' });
  t.same(unwell.wants, ['report', 'SIGTERM'], 'nobody calls one that was never ready');
});

import fc from 'fast-check';
import t from 'tap';
import type { TaskExit } from '../../src/lifecycle/task-exit.ts';
import {
  hasEnded,
  isReady,
  newTaskLife,
  type TaskEvent,
  type TaskLife,
  type TaskStep,
} from '../../src/lifecycle/task-life.ts';
import { advance } from '../../src/lifecycle/task-machine.ts';
import { isTerminal } from '../../src/model/task.ts';
import { taskSpec } from '../fixtures/task-spec.ts';

const exits: readonly TaskExit[] = [
  { kind: 'exited', code: 0 },
  { kind: 'exited', code: 1 },
  { kind: 'signaled', signal: 'SIGKILL' },
  { kind: 'unknown' },
];

const exit = fc.constantFrom(...exits);
const run = fc.integer({ min: 0, max: 4 });
const message = fc.constant('why');

/** Any event at any time, sensible or not. */
const anyEvent: fc.Arbitrary<TaskEvent> = fc.oneof(
  fc.constant<TaskEvent>({ on: 'launch' }),
  fc.constant<TaskEvent>({ on: 'wake' }),
  fc.record({ on: fc.constant('kill' as const), message }),
  fc.record({ on: fc.constant('found' as const), pid: fc.nat(), ranMs: fc.nat(10_000) }),
  fc.record({ on: fc.constant('foundEnded' as const), exit, ranMs: fc.nat(10_000) }),
  fc.record({ on: fc.constant('started' as const), run, pid: fc.nat() }),
  fc.record({ on: fc.constant('notStarted' as const), run, message, permanent: fc.boolean() }),
  fc.record({ on: fc.constant('exited' as const), run, exit }),
  fc.record({ on: fc.constant('checked' as const), run, healthy: fc.boolean(), message }),
);

const anySpec = fc.record({
  policy: fc.constantFrom('always' as const, 'onFailure' as const, 'never' as const),
  attempts: fc.nat(4),
  health: fc.boolean(),
  maxRunMs: fc.option(fc.nat(20_000), { nil: undefined }),
  killGraceMs: fc.nat(3_000),
});

type AnySpec = typeof anySpec extends fc.Arbitrary<infer T> ? T : never;

const anyPlay = fc.array(fc.record({ event: anyEvent, afterMs: fc.nat(5_000) }), { maxLength: 60 });

/** A world around one task that checks every step against what must never happen. */
class World {
  life: TaskLife;
  now = 0;
  /** The run that was asked to start and has not ended. */
  occupied: number | undefined;
  alive = false;
  checkOf: number | undefined;
  ready = false;
  terminal = 0;
  termSent = false;

  constructor(spec: AnySpec) {
    const { policy, attempts, health, maxRunMs, killGraceMs } = spec;
    this.life = newTaskLife(
      taskSpec({
        killGraceMs,
        restart: { policy, attempts, backoffMs: 100, maxBackoffMs: 1_000, resetAfterMs: 2_000 },
        ...(maxRunMs === undefined ? {} : { maxRunMs }),
        ...(health
          ? {
              health: {
                type: 'tcp',
                port: 'p',
                path: '/',
                intervalMs: 300,
                timeoutMs: 10,
                initialDelayMs: 0,
                threshold: 2,
              },
            }
          : {}),
      }),
    );
  }

  /** Sends an event, after making the world agree with it: what ends has been there. */
  send(event: TaskEvent): readonly TaskStep[] {
    const endedBefore = hasEnded(this.life);
    const { phase } = this.life.now;
    const fits = !('run' in event) || event.run === this.life.run;
    const { life, steps } = advance(this.life, event, this.now, () => 0.3);
    if (endedBefore && (steps.length > 0 || life !== this.life)) throw new Error('something happened after the end');
    if (fits && event.on === 'exited' && phase === 'running') this.leave();
    if (fits && event.on === 'notStarted' && phase === 'starting') this.leave();
    if (event.on === 'found' && phase === 'staging') this.occupied = life.run;
    this.life = life;
    for (const step of steps) this.take(step);
    if (this.ready !== isReady(life)) throw new Error('the endpoint does not follow the task');
    return steps;
  }

  leave(): void {
    this.occupied = undefined;
    this.termSent = false;
  }

  take(step: TaskStep): void {
    switch (step.do) {
      case 'start':
        if (this.occupied !== undefined) throw new Error('a start without an end in between');
        this.occupied = step.run;
        return;
      case 'signal':
        if (this.occupied === undefined) throw new Error('a signal to nobody');
        if (this.ready) throw new Error('a signal while the endpoint is open');
        if (step.signal === 'SIGKILL' && !this.termSent) throw new Error('SIGKILL before SIGTERM');
        this.termSent = true;
        return;
      case 'check':
        return;
      case 'ready':
        if (step.ready === this.ready) throw new Error('the endpoint is told twice');
        this.ready = step.ready;
        return;
      case 'report':
        if (this.terminal > 0) throw new Error(`${step.status.state} after the last state`);
        if (isTerminal(step.status.state)) this.terminal++;
        if (isTerminal(step.status.state) && step.status.ready) throw new Error('ended and ready');
        return;
      default:
        step satisfies never;
    }
  }

  /** Lives on with a process that obeys SIGKILL alone, until the task has ended; gives up after many turns. */
  finish(): boolean {
    for (let turn = 0; turn < 50 && !hasEnded(this.life); turn++) {
      const { now, run } = this.life;
      if (now.phase === 'starting') {
        this.send({ on: 'started', run, pid: 1 });
        continue;
      }
      const wake = advance(this.life, { on: 'wake' }, this.now, () => 0.3).wakeAt;
      if (wake !== undefined) this.now = Math.max(this.now, wake);
      const steps = this.send({ on: 'wake' });
      if (steps.some(step => step.do === 'signal' && step.signal === 'SIGKILL')) {
        this.send({ on: 'exited', run, exit: { kind: 'signaled', signal: 'SIGKILL' } });
      }
    }
    return hasEnded(this.life);
  }
}

t.test(
  'whatever happens in whatever order, no task runs twice, is signaled in vain, or lives after its end',
  async () => {
    fc.assert(
      fc.property(anySpec, anyPlay, (spec, play) => {
        const world = new World(spec);
        for (const { event, afterMs } of play) {
          world.now += afterMs;
          world.send(event);
        }
      }),
      { seed: 20_301, numRuns: 3_000 },
    );
  },
);

t.test('a killed task ends, whatever happened before', async () => {
  fc.assert(
    fc.property(anySpec, anyPlay, (spec, play) => {
      const world = new World(spec);
      for (const { event, afterMs } of play) {
        world.now += afterMs;
        world.send(event);
      }
      world.send({ on: 'kill', message: 'removed' });
      return world.finish() && world.terminal === 1;
    }),
    { seed: 20_302, numRuns: 3_000 },
  );
});

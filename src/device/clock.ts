import { performance } from 'node:perf_hooks';
import { type Clock, secondMs } from '../base/clock.ts';
import { onAbort } from '../base/signal.ts';

/** The longest delay that a Node timer takes; longer ones would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** Loops that sleep for so long wake together. */
const alignedFromMs = 2 * secondMs;
/** On multiples of one of these. */
const [stepMs, slowStepMs, tenStepMs] = [secondMs, 5 * secondMs, 10 * secondMs];

/**
 * How long to sleep at `nowMs` so that loops wake together: a process at rest costs what it wakes, however little it does then. It may be
 * half a step less than was asked for, or more; who has just woken with the others keeps its period.
 */
export function alignedMs(nowMs: number, delayMs: number): number {
  if (delayMs < alignedFromMs) return delayMs;
  const slowMs = delayMs % tenStepMs === 0 ? tenStepMs : slowStepMs;
  const to = delayMs < tenStepMs ? stepMs : slowMs;
  return Math.round((nowMs + delayMs) / to) * to - nowMs;
}

/** The real clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
  sleep(delayMs, signal, as) {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise(resolve => {
      const wake = () => {
        forget();
        resolve(true);
      };
      const cancel = as === 'loop' ? withOthers(delayMs, wake) : after(delayMs, wake);
      const forget = onAbort(signal, () => {
        cancel();
        resolve(false);
      });
    });
  },
};

/** What waits for one moment, with one timer. */
interface Moment {
  readonly tasks: Set<() => void>;
  readonly cancel: () => void;
}

/** Those at which loops will wake, in milliseconds. */
const moments = new Map<number, Moment>();

function withOthers(delayMs: number, task: () => void): () => void {
  const now = performance.now();
  const at = Math.round(now + alignedMs(now, delayMs));
  const moment = moments.get(at) ?? openMoment(at, at - now);
  moment.tasks.add(task);
  return () => {
    moment.tasks.delete(task);
    if (moment.tasks.size > 0) return;
    moment.cancel();
    moments.delete(at);
  };
}

function openMoment(at: number, inMs: number): Moment {
  const tasks = new Set<() => void>();
  const cancel = after(inMs, () => {
    moments.delete(at);
    for (const task of tasks) task();
  });
  const moment = { tasks, cancel };
  moments.set(at, moment);
  return moment;
}

function after(delayMs: number, task: () => void): () => void {
  let timer: NodeJS.Timeout;
  const arm = (leftMs: number): void => {
    timer =
      leftMs > maxTimerMs
        ? setTimeout(() => arm(leftMs - maxTimerMs), maxTimerMs)
        : setTimeout(task, Math.max(0, leftMs));
  };
  arm(delayMs);
  return () => clearTimeout(timer);
}

import { performance } from 'node:perf_hooks';
import type { Clock } from '../base/clock.ts';
import { onAbort } from '../base/signal.ts';

/** The longest delay that a Node timer takes; longer ones would fire at once. */
const maxTimerMs = 2 ** 31 - 1;

/** The real clock. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after,
  sleep(delayMs, signal) {
    if (signal.aborted) return Promise.resolve(false);
    return new Promise(resolve => {
      const cancel = after(delayMs, () => {
        forget();
        resolve(true);
      });
      const forget = onAbort(signal, () => {
        cancel();
        resolve(false);
      });
    });
  },
};

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

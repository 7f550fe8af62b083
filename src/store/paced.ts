import { setImmediate } from 'node:timers/promises';

/** SQLite works inside the call, so nothing else of the process runs before the event loop gets its turn. */
const perTurn = 100;

/** Does `work` on each item in order, and lets heartbeats through in between. */
export async function paced<T>(items: readonly T[], work: (item: T) => Promise<void> | void): Promise<void> {
  for (const [i, item] of items.entries()) {
    if (i % perTurn === perTurn - 1) await setImmediate();
    await work(item);
  }
}

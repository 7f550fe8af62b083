import { type FSWatcher, watch } from 'node:fs';
import { onAbort } from '../base/signal.ts';

/**
 * Settles as soon as something in one of the directories is written, made or removed, or when `signal` aborts: until then nothing wakes.
 * False where the system does not tell, or has no room for one more who waits.
 */
export function untilWritten(directories: Iterable<string>, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted) return Promise.resolve(true);
  return new Promise(resolve => {
    const watchers: FSWatcher[] = [];
    const settle = (told: boolean): void => {
      forget();
      for (const watcher of watchers) watcher.close();
      resolve(told);
    };
    const forget = onAbort(signal, () => settle(true));
    try {
      for (const directory of directories) {
        const watcher = watch(directory, () => settle(true));
        watchers.push(watcher);
        watcher.on('error', () => settle(false));
      }
    } catch {
      settle(false);
    }
  });
}

/** Runs `task` once when `signal` aborts (at once if it already has); the returned function takes the listener away. */
export function onAbort(signal: AbortSignal, task: () => void): () => void {
  if (signal.aborted) {
    task();
    return () => {};
  }
  signal.addEventListener('abort', task, { once: true });
  return () => signal.removeEventListener('abort', task);
}

/** A promise that settles when `signal` aborts; for awaiting the end of a role. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    onAbort(signal, resolve);
  });
}

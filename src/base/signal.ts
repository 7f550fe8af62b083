/** What is to be done when a signal aborts, behind one listener: to add one and take it away is much work for Node, and loops wait without an end. */
class AbortTasks {
  readonly all = new Set<() => void>();

  handleEvent(): void {
    for (const task of this.all) task();
  }
}

const tasksOf = new WeakMap<AbortSignal, AbortTasks>();

/** Runs `task` once when `signal` aborts (at once if it already has); the returned function takes it away. */
export function onAbort(signal: AbortSignal, task: () => void): () => void {
  if (signal.aborted) {
    task();
    return () => {};
  }
  const tasks = tasksOf.get(signal) ?? new AbortTasks();
  tasksOf.set(signal, tasks);
  if (tasks.all.size === 0) signal.addEventListener('abort', tasks, { once: true });
  tasks.all.add(task);
  return () => {
    // Node keeps a signal that follows others for as long as it is listened to
    if (tasks.all.delete(task) && tasks.all.size === 0) signal.removeEventListener('abort', tasks);
  };
}

/** A promise that settles when `signal` aborts; for awaiting the end of a role. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    onAbort(signal, resolve);
  });
}

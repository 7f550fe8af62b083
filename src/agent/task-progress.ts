import { readProgress, type SeenProgress } from '../device/progress-file.ts';
import { maxProgressReports, type ProgressReport } from '../model/message.ts';
import type { Progress } from '../model/task.ts';

/** How far the tasks here are, read with each heartbeat from the files that they write. */
export interface TaskProgress {
  /** What has changed since the last time, or all again; what is too much for one heartbeat comes with the next. */
  news(all: boolean): Promise<readonly ProgressReport[]>;
  of(task: string): Progress | undefined;
}

export function makeTaskProgress(parts: {
  /** Those that have not ended. */
  readonly tasks: () => readonly string[];
  readonly sandboxOf: (task: string) => string;
}): TaskProgress {
  const { tasks, sandboxOf } = parts;
  const seen = new Map<string, SeenProgress>();
  const said = new Map<string, Progress | undefined>();

  async function look(): Promise<void> {
    const live = new Set(tasks());
    for (const map of [seen, said]) for (const task of map.keys()) if (!live.has(task)) map.delete(task);
    for (const task of live) {
      const now = await readProgress(sandboxOf(task), seen.get(task));
      if (now !== undefined) seen.set(task, now);
      else seen.delete(task);
    }
  }

  return {
    async news(all) {
      await look();
      if (all) said.clear();
      const reports: ProgressReport[] = [];
      for (const task of new Set([...seen.keys(), ...said.keys()])) {
        if (reports.length === maxProgressReports) break;
        const progress = seen.get(task)?.progress;
        if (isSame(progress, said.get(task))) continue;
        // a task that was started again is where it began
        reports.push({ task, ...(progress ?? { percent: 0 }) });
        if (progress === undefined) said.delete(task);
        else said.set(task, progress);
      }
      return reports;
    },
    of: task => seen.get(task)?.progress,
  };
}

function isSame(one: Progress | undefined, other: Progress | undefined): boolean {
  return one?.percent === other?.percent && one?.message === other?.message;
}

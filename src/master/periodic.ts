import { type Clock, minuteMs } from '../base/clock.ts';
import { messageOf } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import { onAbort } from '../base/signal.ts';
import type { Job } from '../model/document.ts';
import { parseRunLabel } from '../model/run-label.ts';
import type { Store } from '../store/store.ts';
import { lastDue, nextDue } from './cron.ts';
import { asJob, type Jobs } from './jobs.ts';

/** Starts the runs of periodic jobs when they are due. */
export interface Periodic {
  /** Jobs have changed. */
  wake(): void;
  run(signal: AbortSignal): Promise<void>;
}

/** A run that is later than this was missed: there was no master, or its machine slept. */
const missedAfterMs = minuteMs;
/** A clock may be set: the schedules are looked at again after so long in any case. */
const lookEveryMs = minuteMs;

export function makePeriodic(parts: {
  readonly store: Pick<Store, 'documents' | 'tasks'>;
  readonly jobs: Pick<Jobs, 'startRun'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly onStarted: () => void;
}): Periodic {
  const { store, jobs, clock, log, onStarted } = parts;
  /** By job: up to when its runs were seen to. */
  let seenTo: ReadonlyMap<string, number> = new Map();
  let wakeUp = () => {};
  let isDue = false;

  /** What was seen to before this master began, as far as its tasks tell. */
  async function newestRun({ metadata: { namespace, name } }: Job): Promise<number> {
    const tasks = await store.tasks.list({ namespace, job: name, framework: null });
    return Math.max(0, ...tasks.map(task => parseRunLabel(task.label)?.at ?? 0));
  }

  async function start(job: Job, at: number): Promise<void> {
    const { namespace, name } = job.metadata;
    const due = new Date(at).toISOString();
    if (clock.now() - at > missedAfterMs && job.spec.periodic?.missed === 'skip') {
      log.info('a run was missed, and is left out', { job: name, namespace, due });
      return;
    }
    if (await jobs.startRun(job, at)) {
      log.info('a run has begun', { job: name, namespace, due });
      onStarted();
    } else log.warn('a run is left out, since one before it goes on', { job: name, namespace, due });
  }

  /** Starts what is due; when to look again. */
  async function look(): Promise<number> {
    const seen = new Map<string, number>();
    let nextAt = clock.now() + lookEveryMs;
    for (const row of await store.documents.list('Job')) {
      const job = asJob(JSON.parse(row.json));
      const { periodic } = job.spec;
      if (periodic === undefined) continue;
      const key = `${row.namespace}/${row.name}`;
      const now = clock.now();
      const from = Math.max(seenTo.get(key) ?? (await newestRun(job)), row.updatedAt);
      const due = lastDue(periodic, now) ?? 0;
      if (due > from) await start(job, due);
      seen.set(key, Math.max(due, from));
      nextAt = Math.min(nextAt, nextDue(periodic, now) ?? nextAt);
    }
    seenTo = seen;
    return nextAt;
  }

  async function untilDue(at: number, signal: AbortSignal): Promise<void> {
    if (isDue || signal.aborted) return;
    await new Promise<void>(resolve => {
      const done = () => {
        cancel();
        forget();
        resolve();
      };
      wakeUp = done;
      const cancel = clock.after(Math.max(0, at - clock.now()), done);
      const forget = onAbort(signal, () => done());
    });
  }

  return {
    wake() {
      isDue = true;
      wakeUp();
    },
    async run(signal) {
      let at = 0;
      while (!signal.aborted) {
        await untilDue(at, signal);
        if (signal.aborted) return;
        isDue = false;
        try {
          at = await look();
        } catch (error) {
          log.error('runs could not be started', { reason: messageOf(error) });
          at = clock.now() + lookEveryMs;
        }
      }
    },
  };
}

import { Cron } from 'croner';
import { messageOf } from '../base/errors.ts';
import type { JobSpec } from '../model/job.ts';

type Schedule = Pick<NonNullable<JobSpec['periodic']>, 'cron' | 'timeZone'>;

/** Why a schedule can never be followed; undefined when it can. */
export function scheduleProblem(schedule: Schedule): string | undefined {
  try {
    const next = cronOf(schedule).nextRun();
    return next === null ? `periodic.cron: ${schedule.cron} never comes` : undefined;
  } catch (error) {
    return `periodic: ${messageOf(error)}`;
  }
}

/** The first moment after `now` (milliseconds since 1970) that a schedule names. */
export function nextDue(schedule: Schedule, now: number): number | undefined {
  return cronOf(schedule).nextRun(new Date(now))?.getTime();
}

/** The last such moment up to `now`. */
export function lastDue(schedule: Schedule, now: number): number | undefined {
  const [last] = cronOf(schedule).previousRuns(1, new Date(now + 1));
  return last?.getTime();
}

/** Where day of the month and day of the week are both given, either will do, as in every crontab. */
function cronOf({ cron, timeZone }: Schedule): Cron {
  return new Cron(cron, { timezone: timeZone, mode: '5-part', legacyMode: true, paused: true });
}

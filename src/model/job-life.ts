import * as v from 'valibot';
import { count, durationSchema } from './duration.ts';

/** When a periodic job runs. */
export const periodicSchema = v.strictObject({
  cron: v.pipe(
    v.string(),
    v.maxLength(128),
    v.regex(/^\S+(?: +\S+){4}$/, 'expected five fields: minute, hour, day of the month, month, day of the week'),
  ),
  timeZone: v.optional(v.pipe(v.string(), v.maxLength(64)), 'UTC'),
  /** What becomes of a run that is due while one before it goes on. */
  concurrency: v.optional(v.picklist(['allow', 'forbid', 'replace']), 'forbid'),
  /** Runs that were due while there was no master: one in place of all of them, or none. */
  missed: v.optional(v.picklist(['run', 'skip']), 'run'),
  /** So many runs that have ended are remembered. */
  keep: v.optional(count(1, 100), 5),
});

/** How a changed service takes the place of the one before it, in Nomad's terms. */
export const updateSchema = v.strictObject({
  /** So many tasks are replaced at once. */
  maxParallel: v.optional(count(1, 10_000), 1),
  /** So many tasks of the new version run beside the old ones first, until they are promoted. */
  canary: v.optional(count(0, 10_000), 0),
  autoPromote: v.optional(v.boolean(), false),
  /** A new task counts when it has been ready for so long, and has to within the deadline. */
  minHealthyTime: v.optional(durationSchema, '10s'),
  healthyDeadline: v.optional(durationSchema, '5m'),
  /** The version before comes back by itself when a new task does not get well. */
  autoRevert: v.optional(v.boolean(), true),
  /** Does a new task start before the old one ends, or in its place? */
  order: v.optional(v.picklist(['startFirst', 'stopFirst']), 'startFirst'),
});

export type UpdateRules = v.InferOutput<typeof updateSchema>;

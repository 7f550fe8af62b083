import * as v from 'valibot';

export const jobUpdatePhases = ['canary', 'rolling', 'reverting', 'succeeded', 'failed', 'reverted'] as const;
export type JobUpdatePhase = (typeof jobUpdatePhases)[number];

/** What an operator may do with an update that is under way. */
export const jobUpdateCommands = ['promote', 'revert'] as const;
export type JobUpdateCommand = (typeof jobUpdateCommands)[number];

/** How the newest change of a job takes, or took, the place of the version before it. */
export const jobUpdateViewSchema = v.object({
  job: v.string(),
  namespace: v.string(),
  phase: v.picklist(jobUpdatePhases),
  /** New tasks that have got well, of how many that are wanted in this phase; as far as this master has seen. */
  healthy: v.number(),
  wanted: v.number(),
  /** Is it an operator's turn, to promote the canaries? */
  waits: v.boolean(),
  reason: v.nullable(v.string()),
  startedAt: v.number(),
  endedAt: v.nullable(v.number()),
});

export type JobUpdateView = v.InferOutput<typeof jobUpdateViewSchema>;

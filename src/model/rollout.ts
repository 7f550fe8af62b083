import * as v from 'valibot';
import { dayMs, secondMs } from '../base/clock.ts';
import { durationSchema } from './duration.ts';
import { nameSchema } from './ids.ts';

// A kind of our own, since Istio has none: how what operators push reaches the nodes, ring after ring.

export const rolloutBounds = {
  steps: 20,
  namedNodes: 1_000,
  /** Of one step: the wait for its nodes, and the watch after it. */
  leastTimeoutMs: secondMs,
  longestMs: 7 * dayMs,
} as const;

const { steps, namedNodes, leastTimeoutMs, longestMs } = rolloutBounds;
const label = v.pipe(v.string(), v.maxLength(253));
const percentSchema = v.pipe(v.number(), v.gtValue(0, 'expected more than 0'), v.maxValue(100, 'expected at most 100'));
const riseSchema = v.pipe(v.number(), v.minValue(0, 'expected 0 to 100'), v.maxValue(100, 'expected 0 to 100'));

const stepSchema = v.pipe(
  v.strictObject({
    name: v.optional(nameSchema),
    nodes: v.optional(v.pipe(v.array(nameSchema), v.minLength(1), v.maxLength(namedNodes))),
    labels: v.optional(v.pipe(v.record(label, label), v.minEntries(1), v.maxEntries(64))),
    percent: v.optional(percentSchema),
    /** How long its nodes are watched; milliseconds once it is read, as `timeout`. */
    for: v.optional(v.pipe(durationSchema, v.maxValue(longestMs, 'expected at most 7d')), '5m'),
    /** How long its nodes may take to acknowledge. */
    timeout: v.optional(
      v.pipe(
        durationSchema,
        v.minValue(leastTimeoutMs, 'expected at least 1s'),
        v.maxValue(longestMs, 'expected at most 7d'),
      ),
      '10m',
    ),
  }),
  v.check(
    ({ nodes, labels, percent }) => [nodes, labels, percent].filter(each => each !== undefined).length === 1,
    'expected one of nodes, labels and percent',
  ),
);

/** In a namespace it governs that namespace's policies, in the root namespace all; `apply --canary` sends one for a single push. */
export const rolloutSpecSchema = v.strictObject({
  steps: v.pipe(v.array(stepSchema), v.minLength(1), v.maxLength(steps)),
  /** By how many points of a hundred the share of denied, and of failed, requests may rise. */
  maxRise: v.optional(
    v.strictObject({ deniedPercent: v.optional(riseSchema, 1), errorsPercent: v.optional(riseSchema, 1) }),
    {},
  ),
  /** With fewer since the change nothing is judged. */
  minRequests: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000_000)), 20),
  /** Do nodes that cannot be reached hold a step? */
  offline: v.optional(v.picklist(['skip', 'wait']), 'skip'),
  /** So many must acknowledge in any case, or all where a ring has fewer. */
  minNodes: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(10_000)), 1),
  onTimeout: v.optional(v.picklist(['rollback', 'pause']), 'rollback'),
});

export type RolloutSpec = v.InferOutput<typeof rolloutSpecSchema>;
export type RolloutStep = RolloutSpec['steps'][number];

export const rolloutPhases = ['running', 'paused', 'succeeded', 'rolled-back', 'aborted', 'superseded'] as const;
export type RolloutPhase = (typeof rolloutPhases)[number];

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** What a node's proxy has seen: decisions on calls that came in, and answers to all that came in or went out. */
export const callCountsSchema = v.object({ decisions: whole, denied: whole, requests: whole, errors: whole });
export type CallCounts = v.InferOutput<typeof callCountsSchema>;
export const noCalls: CallCounts = { decisions: 0, denied: 0, requests: 0, errors: 0 };

export function sumOfCalls(a: CallCounts, b: CallCounts): CallCounts {
  return {
    decisions: a.decisions + b.decisions,
    denied: a.denied + b.denied,
    requests: a.requests + b.requests,
    errors: a.errors + b.errors,
  };
}

/** What a node enforces of a rollout, and how calls fared there before and since. */
export const trialSchema = v.object({
  rollout: v.pipe(v.string(), v.maxLength(64)),
  before: callCountsSchema,
  since: callCountsSchema,
});
export type Trial = v.InferOutput<typeof trialSchema>;

/** GET /v1/rollouts: newest first. */
export const rolloutViewSchema = v.object({
  name: v.string(),
  phase: v.picklist(rolloutPhases),
  /** What is rolled out, as `kind namespace/name`. */
  changes: v.array(v.object({ change: v.picklist(['put', 'remove']), document: v.string() })),
  /** Of the step that it is at, from 1. */
  step: v.number(),
  steps: v.array(
    v.object({
      title: v.string(),
      forMs: v.number(),
      timeoutMs: v.number(),
      /** Names of the nodes that it added. */
      nodes: v.array(v.string()),
    }),
  ),
  /** `waiting` for acknowledgements or `watching`, and how long all in all. */
  stage: v.picklist(['waiting', 'watching']),
  stageMs: v.number(),
  /** Of those in its rings that are heard. */
  acknowledged: v.number(),
  reachable: v.number(),
  nodes: v.number(),
  /** Of all nodes in its rings. */
  before: callCountsSchema,
  since: callCountsSchema,
  /** Why it is where it is: of an end, a pause. */
  reason: v.nullable(v.string()),
  /** Who pushed it. */
  by: v.string(),
  startedAt: v.number(),
  endedAt: v.nullable(v.number()),
});
export const rolloutListSchema = v.object({ rollouts: v.array(rolloutViewSchema) });
export type RolloutView = v.InferOutput<typeof rolloutViewSchema>;

/** POST /v1/rollouts/:name/pause, resume and abort */
export const rolloutCommands = ['pause', 'resume', 'abort'] as const;
export type RolloutCommand = (typeof rolloutCommands)[number];

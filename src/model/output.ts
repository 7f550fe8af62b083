import * as v from 'valibot';
import { hourMs, minuteMs } from '../base/clock.ts';
import { errorCodeOf } from '../base/errors.ts';
import { taskIdSchema } from './ids.ts';

// What tasks and commands beside them write, on its way to who follows it: asked for by `ask`, said in pieces as `up/<node>/log`, and
// acknowledged in `ack`, by which a node knows that somebody still wants it.

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
export const outputStreams = ['stdout', 'stderr'] as const;

export const maxExecStdinBytes = 65_536;
export const defaultExecTimeoutMs = 10 * minuteMs;

const execFields = {
  command: v.pipe(v.array(text(8192)), v.minLength(1, 'expected a command'), v.maxLength(256)),
  /** All that it may read. */
  stdin: v.optional(text(maxExecStdinBytes)),
  timeoutMs: v.optional(
    v.pipe(whole, v.minValue(1, 'expected more than 0'), v.maxValue(hourMs, 'expected at most 1h')),
    defaultExecTimeoutMs,
  ),
};

/** POST /v1/tasks/:id/exec */
export const execRequestSchema = v.strictObject(execFields);

/** In `ask`: the end of a task's output, and with `follow` what it writes from then on. */
export const logAskSchema = v.object({
  what: v.literal('log'),
  id: text(64),
  task: taskIdSchema,
  stream: v.picklist(outputStreams),
  /** From the end, in bytes. */
  tailBytes: whole,
  follow: v.optional(v.boolean()),
});

/** In `ask`: a command next to a task, for an operator. */
export const execAskSchema = v.object({
  what: v.literal('exec'),
  id: text(64),
  task: taskIdSchema,
  by: text(128),
  ...execFields,
});

/** The fields of `up/<node>/log`, in answer to the ask with the same id. */
export const outputPieceFields = {
  id: text(64),
  task: taskIdSchema,
  stream: v.picklist(outputStreams),
  data: text(131_072),
  end: v.boolean(),
  error: v.optional(text(512)),
  /** Of the error, where it is not that there is no such output. */
  code: v.optional(v.pipe(text(64), v.transform(errorCodeOf))),
  /** With what a command has ended, in its last piece. */
  exit: v.optional(whole),
  /** Counts the pieces of what is followed, from 1. */
  number: v.optional(whole),
  /** It was there before it was followed, and more of that comes. */
  backlog: v.optional(v.boolean()),
  /** So many bytes before these were left out, since they came faster than they are passed on. */
  skipped: v.optional(whole),
  /** The latest moment at which these bytes were written, in milliseconds since 1970. */
  at: v.optional(v.number()),
};

/** In `ack`: who asked still wants it, and has taken it up to piece `taken`; `end`: nobody wants it any more. */
export const outputTakenSchema = v.object({ id: text(64), taken: whole, end: v.optional(v.boolean()) });

/** One line of what the API streams; an empty one says that the connection lives. */
export const outputFrameSchema = v.object({
  stream: v.optional(v.picklist(outputStreams)),
  data: v.optional(v.string()),
  skipped: v.optional(v.number()),
  /** With what a command has ended. */
  exit: v.optional(v.number()),
  /** The last line, when it did not end by itself. */
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});

export type OutputStreamName = (typeof outputStreams)[number];
export type OutputTaken = v.InferOutput<typeof outputTakenSchema>;
export type ExecRequest = v.InferOutput<typeof execRequestSchema>;
export type OutputFrame = v.InferOutput<typeof outputFrameSchema>;

/** A piece in one message, in bytes of JSON. */
export const wireChunkBytes = 48 * 1024;

/** The bounds that both sides of a stream know. */
export const outputBounds = {
  /** A node stops when it has not heard for so long that somebody listens; a master when it has not heard a node. */
  leaseMs: 30_000,
  /** How often each tells the other that it is there. */
  renewMs: 10_000,
  /** Pieces that were not acknowledged; the next one waits. */
  window: 8,
} as const;

/** The end of `text` from its last `lines` lines on. */
export function lastLines(text: string, lines: number): string {
  let at = text.endsWith('\n') ? text.length - 1 : text.length;
  for (let left = lines; left > 0 && at >= 0; left--) at = at === 0 ? -1 : text.lastIndexOf('\n', at - 1);
  return text.slice(at + 1);
}

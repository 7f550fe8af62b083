import * as v from 'valibot';
import { taskIdSchema } from './ids.ts';

// What tasks and commands beside them write, on its way to who follows it: asked for by `ask`, said in pieces as `up/<node>/log`, and
// acknowledged in `ack`, by which a node knows that somebody still wants it.

const whole = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const text = (max: number) => v.pipe(v.string(), v.maxLength(max));
export const outputStreams = ['stdout', 'stderr'] as const;

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

/** The fields of `up/<node>/log`, in answer to the ask with the same id. */
export const outputPieceFields = {
  id: text(64),
  task: taskIdSchema,
  stream: v.picklist(outputStreams),
  data: text(131_072),
  end: v.boolean(),
  error: v.optional(text(512)),
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
  /** The last line, when it did not end by itself. */
  error: v.optional(v.object({ code: v.string(), message: v.string() })),
});

export type OutputStreamName = (typeof outputStreams)[number];
export type OutputTaken = v.InferOutput<typeof outputTakenSchema>;
export type OutputFrame = v.InferOutput<typeof outputFrameSchema>;

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

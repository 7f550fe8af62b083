import * as v from 'valibot';

const moment = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/**
 * A time in which a node takes no tasks, in milliseconds since 1970: until it is taken back where `until` is null. From its beginning
 * services are started elsewhere and then ended here, and batch tasks come to their end; at `endTasksAt` whatever is left is ended.
 * `thenGone`: when it has no task left but of system jobs it leaves the fleet for good.
 */
export const drainSchema = v.pipe(
  v.strictObject({
    from: moment,
    until: v.nullable(moment),
    endTasksAt: v.nullable(moment),
    thenGone: v.optional(v.boolean()),
  }),
  v.check(({ from, until }) => until === null || until > from, 'expected until after from'),
);

export type Drain = v.InferOutput<typeof drainSchema>;

/** Is the node to be left alone at `now`? */
export function isDrained(drain: Drain | null, now: number): drain is Drain {
  return drain !== null && drain.from <= now && (drain.until === null || now < drain.until);
}

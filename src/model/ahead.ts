import * as v from 'valibot';

const tasksSchema = v.object({ count: v.number(), some: v.array(v.string()) });

/**
 * What a node holds of which this master's database knows nothing: the database is an older copy, or another's. Until an operator says so
 * nothing is changed there.
 */
export const aheadSchema = v.object({
  epoch: v.number(),
  generation: v.number(),
  /** Tasks that are there and not in the database: they would be ended. */
  unknown: tasksSchema,
  /** Tasks that the database has there, and that are not: they count as lost. */
  missing: tasksSchema,
});

export type Ahead = v.InferOutput<typeof aheadSchema>;

/** How many of the tasks are named. */
const named = 20;

export function countedTasks(tasks: readonly string[]): v.InferOutput<typeof tasksSchema> {
  return { count: tasks.length, some: tasks.slice(0, named) };
}

/** In a few words, as `3 (a, b, c)`. */
export function printTasks({ count, some }: v.InferOutput<typeof tasksSchema>): string {
  if (count === 0) return 'none';
  return `${count} (${some.join(', ')}${count > some.length ? ', …' : ''})`;
}

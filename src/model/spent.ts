import * as v from 'valibot';

const bytes = v.pipe(v.number(), v.minValue(0));
const byPurpose = v.pipe(v.record(v.pipe(v.string(), v.maxLength(32)), bytes), v.maxEntries(16));

/** What an agent takes of what wears out: bytes by purpose; a purpose that took none is left out. */
export const spentSchema = v.object({
  /** Written to the disk within the last 24 hours, or since the agent's start. */
  disk: v.object({
    byPurpose,
    /** How long that was. */
    sinceMs: v.optional(v.pipe(v.number(), v.minValue(0))),
    /** What its profile lets it write in a day. */
    budgetBytes: v.optional(bytes),
    /** The share of the medium's life, 0 to 1 and beyond, that a year of such days takes. */
    lifePerYear: v.optional(v.pipe(v.number(), v.minValue(0))),
  }),
  /** Sent and received between agent and master, and fetched for tasks, as networks carry it: within the last hour by purpose, within 24 in all, or since its start. */
  link: v.optional(
    v.object({
      byPurpose,
      dayBytes: bytes,
      /** Is the link paid for by the byte? */
      metered: v.boolean(),
      /** What it should take in a day, where it is. */
      budgetBytes: v.optional(bytes),
    }),
  ),
});

export type Spent = v.InferOutput<typeof spentSchema>;

/** All purposes together. */
export function sumOf(bytes: Readonly<Record<string, number>>): number {
  return Object.values(bytes).reduce((sum, each) => sum + each, 0);
}

/** What took most of them, and how much; neither where nothing took any. */
export function mostOf(bytes: Readonly<Record<string, number>>): readonly [purpose?: string, bytes?: number] {
  return Object.entries(bytes).sort(([, a], [, b]) => b - a)[0] ?? [];
}

/** Has its disk taken more than it should? */
export function isOverBudget({ byPurpose, budgetBytes }: Spent['disk']): boolean {
  return budgetBytes !== undefined && sumOf(byPurpose) > budgetBytes;
}

/** Has its link? */
export function isOverData({ dayBytes, budgetBytes }: NonNullable<Spent['link']>): boolean {
  return budgetBytes !== undefined && dayBytes > budgetBytes;
}

/** `1.2 MB`, `340 MB` */
export function printMegabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

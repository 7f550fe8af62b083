/** What is known of a run; times in milliseconds since 1970. */
export interface RunSoFar {
  readonly startedAt: number;
  /** What its like took, as far as that is known. */
  readonly expectedEndAt: number | null;
  /** 0 to 100, and when it was told. */
  readonly percent: number;
  readonly at: number;
}

/**
 * When a run ends by how far it is: its pace so far, and what its like took, each with the weight that it has earned: a run that is half
 * done is believed half. Undefined where nothing can be told.
 */
export function endByProgress({ startedAt, expectedEndAt, percent, at }: RunSoFar): number | undefined {
  const done = percent / 100;
  const elapsedMs = at - startedAt;
  if (done <= 0 || elapsedMs <= 0) return expectedEndAt ?? undefined;
  const byPaceMs = elapsedMs / done;
  const learnedMs = expectedEndAt === null ? byPaceMs : expectedEndAt - startedAt;
  return Math.round(Math.max(at, startedAt + done * byPaceMs + (1 - done) * learnedMs));
}

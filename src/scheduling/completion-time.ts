/** Where a task would end first. */
export interface Completion {
  /** Index of the node. */
  readonly node: number;
  readonly startAt: number;
  readonly endAt: number;
}

/**
 * Minimum completion time (MCT of Braun et al., JPDC 61, 2001): of `count` nodes the one where ready time plus expected time
 * is least, the lowest index on ties. `readyAt` says when the node has room for the task, undefined for never; a busy fast
 * node so wins over a free slow one when the task would end there sooner.
 */
export function earliestCompletion(
  count: number,
  readyAt: (node: number) => number | undefined,
  expectedMs: (node: number) => number,
): Completion | undefined {
  let best: Completion | undefined;
  for (let node = 0; node < count; node++) {
    const startAt = readyAt(node);
    if (startAt === undefined) continue;
    const endAt = startAt + expectedMs(node);
    if (best === undefined || endAt < best.endAt) best = { node, startAt, endAt };
  }
  return best;
}

/** A task that has a node, as far as it matters to whether it stays there. */
export interface Settled {
  readonly task: string;
  readonly type: 'service' | 'batch';
  /** It is to be started elsewhere when its node has been silent for so long; never when absent. */
  readonly rescheduleAfterMs?: number | undefined;
  readonly node: {
    /** Its drain began; `endTasksAt` is when batch tasks have to go, too. */
    readonly drained: { readonly endTasksAt: number | null } | undefined;
    /** Since when nothing was heard of it, while it is called unreachable. */
    readonly silentSince: number | undefined;
  };
}

/** Tasks that have to leave their nodes now, and when to ask again if nothing happens. */
export interface Moves {
  readonly tasks: readonly string[];
  readonly nextAt: number | null;
}

/** Services leave a drained node at once, batch tasks when its patience with them is over; a silent node is left when a job's is. */
export function movesDue(settled: Iterable<Settled>, now: number): Moves {
  const tasks: string[] = [];
  let nextAt = Number.POSITIVE_INFINITY;
  for (const each of settled) {
    const at = leavesAt(each, now);
    if (at <= now) tasks.push(each.task);
    else nextAt = Math.min(nextAt, at);
  }
  return { tasks, nextAt: Number.isFinite(nextAt) ? nextAt : null };
}

function leavesAt({ type, rescheduleAfterMs = Number.POSITIVE_INFINITY, node }: Settled, now: number): number {
  const { drained, silentSince = Number.POSITIVE_INFINITY } = node;
  const byDrain =
    drained === undefined
      ? Number.POSITIVE_INFINITY
      : type === 'service'
        ? now
        : (drained.endTasksAt ?? Number.POSITIVE_INFINITY);
  return Math.min(byDrain, silentSince + rescheduleAfterMs);
}

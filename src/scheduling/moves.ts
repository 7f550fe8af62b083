/** A task that has not ended, as far as it matters to whether it stays where it is. */
export interface Occupant {
  readonly task: string;
  /** `<namespace>/<job>/<position>`: who have the same are to be one, when all moves are done. */
  readonly seat: string;
  /** What it was made from: those of two versions share a seat while an update goes on. */
  readonly version: string;
  /** What frameworks run counts as batch: what becomes of it elsewhere is for them. */
  readonly type: 'service' | 'batch';
  readonly ready: boolean;
  /** It is to be started elsewhere when its node has been silent for so long; never when absent. */
  readonly rescheduleAfterMs?: number | undefined;
  /** Undefined while it waits for one. */
  readonly node:
    | {
        /** Its drain began; at `endTasksAt` whatever is still there has to go. */
        readonly drained: { readonly endTasksAt: number | null } | undefined;
        /** Since when nothing was heard of it, while it is called unreachable. */
        readonly silentSince: number | undefined;
      }
    | undefined;
}

/** What is to be done now so that tasks leave their nodes, and when to ask again if nothing happens. */
export interface Moves {
  /** To be ended, or withdrawn. */
  readonly end: readonly string[];
  /** To have another one of their seat started elsewhere. */
  readonly replace: readonly string[];
  /** Who are to take over, and are not ready yet, each with the one that stays so long. */
  readonly awaited: readonly { readonly task: string; readonly insteadOf: string }[];
  readonly nextAt: number | null;
}

/**
 * A service leaves a drained node when another one of its seat is ready elsewhere, a batch task when it has ended, and both at the end
 * of the drain's patience; a silent node is left when the job's patience is over. A seat whose move was called off keeps the best it has, of each version.
 */
export function movesDue(occupants: Iterable<Occupant>, now: number): Moves {
  const seats = new Map<string, Occupant[]>();
  const end: string[] = [];
  const replace: string[] = [];
  const awaited: Moves['awaited'][number][] = [];
  let nextAt = Number.POSITIVE_INFINITY;
  for (const each of occupants) {
    const at = leavesAt(each);
    if (at <= now) end.push(each.task);
    else nextAt = Math.min(nextAt, at);
    if (at > now && each.type === 'service') seats.set(each.seat, [...(seats.get(each.seat) ?? []), each]);
  }
  for (const seated of seats.values()) {
    const leaving = seated.filter(isLeaving);
    const staying = seated.filter(each => !isLeaving(each)).sort(byWorth);
    const [heir] = staying;
    const surplus = staying.filter(({ version }, i) => staying.findIndex(other => other.version === version) < i);
    end.push(...surplus.map(({ task }) => task));
    const [first] = leaving;
    if (first === undefined) continue;
    if (heir === undefined) replace.push(first.task);
    else if (heir.ready) end.push(...leaving.map(({ task }) => task));
    else awaited.push({ task: heir.task, insteadOf: first.task });
  }
  return { end, replace, awaited, nextAt: Number.isFinite(nextAt) ? nextAt : null };
}

function isLeaving({ node }: Occupant): boolean {
  return node?.drained !== undefined;
}

function byWorth(a: Occupant, b: Occupant): number {
  return worth(b) - worth(a);
}

function worth({ ready, node }: Occupant): number {
  return node === undefined ? 0 : ready ? 2 : 1;
}

function leavesAt({ rescheduleAfterMs = Number.POSITIVE_INFINITY, node }: Occupant): number {
  const { drained, silentSince = Number.POSITIVE_INFINITY } = node ?? {};
  return Math.min(drained?.endTasksAt ?? Number.POSITIVE_INFINITY, silentSince + rescheduleAfterMs);
}

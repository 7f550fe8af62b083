import type { Sha256 } from '../model/audit-chain.ts';
import type { TaskSpec } from '../model/task.ts';
import { specHash } from './spec-hash.ts';

/** A task that a node has, running or ended. */
export interface HeldTask {
  readonly spec: TaskSpec;
  readonly ended: boolean;
}

/** What brings a node from what it holds to what is wanted; every id of both is in exactly one list. */
export interface Reconciliation {
  readonly launch: readonly TaskSpec[];
  /** Left alone: a reconnect or a restarted agent never restarts what is as it should be, nor runs again what has ended. */
  readonly keep: readonly string[];
  /** No longer wanted, and not ended yet. */
  readonly kill: readonly string[];
  /** No longer wanted, and ended: what is left of them can be removed. */
  readonly forget: readonly string[];
  /** Wanted with another spec than the one held: an id names one spec for ever, so the held one goes on and the sender is told. */
  readonly conflict: readonly string[];
}

/** Compares the wanted tasks with the held ones; in the order of `desired`, then of `held`. */
export function reconcile(
  desired: ReadonlyMap<string, TaskSpec>,
  held: ReadonlyMap<string, HeldTask>,
  sha256: Sha256,
): Reconciliation {
  const launch: TaskSpec[] = [];
  const [keep, kill, forget, conflict]: [string[], string[], string[], string[]] = [[], [], [], []];
  for (const [id, spec] of desired) {
    const has = held.get(id);
    if (has === undefined) launch.push(spec);
    else if (has.spec === spec || specHash(has.spec, sha256) === specHash(spec, sha256)) keep.push(id);
    else conflict.push(id);
  }
  for (const [id, { ended }] of held) {
    if (!desired.has(id)) (ended ? forget : kill).push(id);
  }
  return { launch, keep, kill, forget, conflict };
}

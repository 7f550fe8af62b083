import { liveStates } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import { maxIds } from '../store/tasks.ts';
import type { Events } from './events.ts';
import type { Fleet } from './fleet.ts';
import type { Jobs } from './jobs.ts';
import type { Rounds } from './rounds.ts';
import type { TaskIntake } from './task-intake.ts';

/**
 * Takes a node out of the fleet for good, since an operator says that it does not come back: its tasks have ended, those of jobs start
 * elsewhere, and it counts again when it has joined with a new key. It is still listed with the reason, unless it is deleted. Said again it
 * finishes what a crash has left.
 */
export function makeMarkGone(parts: {
  readonly store: Pick<Store, 'tasks'>;
  readonly fleet: Pick<Fleet, 'quarantine' | 'drain' | 'remove'>;
  readonly jobs: Pick<Jobs, 'move'>;
  readonly intake: Pick<TaskIntake, 'onGone'>;
  readonly rounds: Pick<Rounds, 'onGone'>;
  readonly events: Pick<Events, 'record'>;
  /** Its sessions end, its certificates hold no more. */
  readonly cutOff: (node: string) => Promise<void>;
}): (node: string, reason: string, kind?: 'node-quarantined' | 'node-deleted') => Promise<void> {
  const { store, fleet, jobs, intake, rounds, events, cutOff } = parts;
  return async (node, reason, kind = 'node-quarantined') => {
    await fleet.quarantine(node, reason);
    // it was about the board as it was: one that joins anew is not to go at once
    await fleet.drain(node, null);
    events.record(kind, { node, message: `${reason}: its tasks start elsewhere` });
    await cutOff(node);
    const ofJobs = await store.tasks.list({ node, states: liveStates, framework: null });
    const ids = ofJobs.map(({ id }) => id);
    for (let i = 0; i < ids.length; i += maxIds) await jobs.move(ids.slice(i, i + maxIds));
    await intake.onGone(node, reason);
    rounds.onGone(node);
    if (kind === 'node-deleted') await fleet.remove(node);
  };
}

import { MesoliteError } from '../base/errors.ts';
import { type Ahead, countedTasks, printTasks } from '../model/ahead.ts';
import type { Birth } from '../model/message.ts';
import { isTerminal, liveStates } from '../model/task.ts';
import type { Store } from '../store/store.ts';
import type { Events } from './events.ts';
import type { Fleet } from './fleet.ts';

/**
 * A master that was restored from an old copy must not end what its nodes have been given since: a node that holds an assignment which this
 * database did not make is told nothing until an operator has the database hold.
 */
export interface AheadNodes {
  /** True where the node is to be told its assignment. */
  onBirth(node: string, birth: Birth): Promise<boolean>;
  /** Has it introduced itself to this start of the master, with what is known? */
  mayTell(node: string): boolean;
  /** From now on the database holds; throws NOT_FOUND, or CONFLICT where it does already. */
  takeOver(node: string, operator: string): Promise<Ahead>;
}

export function makeAheadNodes(parts: {
  readonly store: Pick<Store, 'assignments' | 'tasks'>;
  readonly fleet: Pick<Fleet, 'get' | 'setAhead'>;
  readonly events: Pick<Events, 'record'>;
  /** `lost` are gone, and the node is to be told its assignment. */
  readonly onTakenOver: (node: string, birth: Birth, lost: readonly string[]) => Promise<void>;
}): AheadNodes {
  const { store, fleet, events, onTakenOver } = parts;
  const told = new Set<string>();

  async function compare(node: string, { tasks }: Birth) {
    const there = new Set(tasks.filter(({ state }) => !isTerminal(state)).map(({ task }) => task));
    const said = new Set(tasks.map(({ task }) => task));
    const live = await store.tasks.list({ node, states: liveStates });
    const known = new Set((await store.tasks.list({ node })).map(({ id }) => id));
    // what was never heard of there may yet be begun
    const missing = live.filter(({ id, state, stopping }) => state !== 'TASK_STAGING' && !stopping && !said.has(id));
    return { unknown: [...there].filter(id => !known.has(id)), missing: missing.map(({ id }) => id) };
  }

  return {
    async onBirth(node, birth) {
      const { epoch, generation } = birth;
      const isKnown = await store.assignments.isKnown({ node, epoch, generation });
      if (isKnown) {
        told.add(node);
        fleet.setAhead(node, null);
        return true;
      }
      told.delete(node);
      const { unknown, missing } = await compare(node, birth);
      const ahead = { epoch, generation, unknown: countedTasks(unknown), missing: countedTasks(missing) };
      fleet.setAhead(node, ahead);
      const message = `it holds an assignment that this database did not make: the database is an older copy, or another's. Nothing is changed there. Restore a newer copy, or apply the jobs that are missing, then mesolite takeover ${node}. Not known here: ${printTasks(ahead.unknown)}`;
      events.record('node-ahead', { node, message });
      return false;
    },
    mayTell: node => told.has(node),
    async takeOver(node, operator) {
      const { birth = null, ahead = null } = fleet.get(node) ?? {};
      if (birth === null) throw new MesoliteError('NOT_FOUND', `there is no node ${node}`);
      if (ahead === null) throw new MesoliteError('CONFLICT', `node ${node} holds what this master gave it`);
      const { epoch, generation } = ahead;
      const { missing } = await compare(node, birth);
      await store.assignments.adopt({ node, epoch, generation });
      told.add(node);
      fleet.setAhead(node, null);
      const ended = `tasks that were not known: ${printTasks(ahead.unknown)}`;
      events.record('node-taken-over', { node, message: `${operator} has the database hold; ${ended}` });
      await onTakenOver(node, birth, missing);
      return ahead;
    },
  };
}

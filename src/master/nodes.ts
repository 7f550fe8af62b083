import type { Clock } from '../base/clock.ts';
import { isMesoliteError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';
import type { Store } from '../store/store.ts';
import { type Clones, makeClones } from './clones.ts';
import type { Credentials } from './credentials.ts';
import type { Events } from './events.ts';
import { type Fleet, type FleetNode, makeFleet } from './fleet.ts';
import { makeNodeEvents, type NodeEvents } from './node-events.ts';
import { makeNodeWeights, type NodeWeights } from './node-weights.ts';

/** The nodes of the fleet, how they fare, and who of them is cut off. */
export interface Nodes {
  readonly fleet: Fleet;
  readonly clones: Clones;
  readonly nodeEvents: NodeEvents;
  readonly weights: NodeWeights;
  /** A key has been let in that was not before. */
  onJoined(node: string): Promise<void>;
  /** Its sessions end, its endpoints go, its certificates hold no more. */
  cutOff(node: string): Promise<void>;
}

export function makeNodes(parts: {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Log;
  readonly events: Events;
  readonly book: Credentials['book'];
  readonly disconnect: (node: string) => void;
  /** Asks a node for its birth. */
  readonly ask: (node: string) => Promise<void>;
  readonly publishServices: () => Promise<void>;
  /** One has come, gone or changed. */
  readonly onNode: (node: FleetNode) => void;
  /** One takes no more tasks, or takes them again. */
  readonly onRoom: () => void;
  readonly inBackground: (what: string, work: Promise<unknown>) => void;
}): Nodes {
  const { store, clock, log, events, book, disconnect, ask, publishServices, onNode, onRoom, inBackground } = parts;
  const nodeEvents = makeNodeEvents({ events });
  const fleet = makeFleet({
    nodes: store.nodes,
    clock,
    log,
    onEvent: (id, change) => {
      nodeEvents.onChange(id, change);
      const node = fleet.get(id);
      if (node !== undefined) onNode(node);
    },
  });
  const clones = makeClones({
    fleet,
    clock,
    log,
    events,
    ask: node => inBackground('asking a node who it is', ask(node)),
    onQuarantined: cutOff,
  });
  const weights = makeNodeWeights({ clock, log, events, publish: publishServices, onRoom });

  /** All that the node was given so far holds no more. */
  async function revokeAll(node: string): Promise<void> {
    try {
      await book.revoke({ node });
    } catch (error) {
      if (!isMesoliteError(error, 'NOT_FOUND')) throw error;
    }
  }

  async function cutOff(node: string): Promise<void> {
    disconnect(node);
    await publishServices();
    await revokeAll(node);
  }

  return {
    ...{ fleet, clones, nodeEvents, weights, cutOff },
    async onJoined(node) {
      if (fleet.get(node) !== undefined) await revokeAll(node);
      clones.onJoined(node);
      await fleet.add(node);
    },
  };
}

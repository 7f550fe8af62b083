import type { Offer } from '../model/offer.ts';
import { noResources, type Resources } from '../model/resources.ts';
import type { NodeState } from './offers.ts';
import { makeTimeline, type Timeline } from './timeline.ts';
import { type Dimensions, least, minus } from './vector.ts';

/** The tasks that a node has, as far as they matter to others. */
export interface Neighbours {
  /** How many tasks of each job. */
  readonly instances: Map<string, number>;
  /** Jobs that one of them does not share a node with. */
  readonly shunned: Set<string>;
}

/** A node during one round; what it has is reckoned when it is first looked at. */
export class BoardNode {
  readonly state: NodeState;
  /** Its place in the order that breaks ties. */
  readonly index: number;
  readonly offer: Offer | undefined;
  /** Index of its kind in the roster. */
  readonly kind: number;
  /** What is left of the offer. */
  left: Resources;
  readonly #make: (node: BoardNode) => Timeline;
  #timeline: Timeline | undefined;
  #neighbours: Neighbours | undefined;

  constructor(
    { state, index, offer, kind }: Pick<BoardNode, 'state' | 'index' | 'offer' | 'kind'>,
    makeTimeline: (node: BoardNode) => Timeline,
  ) {
    this.state = state;
    this.index = index;
    this.offer = offer;
    this.kind = kind;
    this.left = offer?.resources ?? noResources;
    this.#make = makeTimeline;
  }

  get timeline(): Timeline {
    this.#timeline ??= this.#make(this);
    return this.#timeline;
  }

  get neighbours(): Neighbours {
    this.#neighbours ??= neighboursOf(this.state);
    return this.#neighbours;
  }

  /** Undoes all that happened to it. */
  reset(): void {
    this.left = this.offer?.resources ?? noResources;
    this.#timeline = undefined;
    this.#neighbours = undefined;
  }

  /** Undoes all that happens to it from now on. */
  save(): () => void {
    const { left } = this;
    const timeline = this.#timeline && { times: [...this.#timeline.times], free: [...this.#timeline.free] };
    const neighbours = this.#neighbours && copyOf(this.#neighbours);
    return () => {
      this.left = left;
      this.#timeline = timeline;
      this.#neighbours = neighbours && copyOf(neighbours);
      if (timeline !== undefined) this.#timeline = { times: [...timeline.times], free: [...timeline.free] };
    };
  }
}

function neighboursOf({ holdings }: NodeState): Neighbours {
  const instances = new Map<string, number>();
  const shunned = new Set<string>();
  for (const { job, apartFrom = [] } of holdings) {
    instances.set(job, (instances.get(job) ?? 0) + 1);
    for (const other of apartFrom) shunned.add(other);
  }
  return { instances, shunned };
}

function copyOf({ instances, shunned }: Neighbours): Neighbours {
  return { instances: new Map(instances), shunned: new Set(shunned) };
}

/** What a node will have free: what is left of its offer, and more as its tasks are expected to end. */
export function timelineOf({ state, left }: BoardNode, now: number, { vectorOf }: Dimensions): Timeline {
  // an overdrawn node offers nothing of what it lacks, and what comes free first pays the debt
  const balance = minus(vectorOf(state.total), vectorOf(state.allocated));
  const releases = state.holdings.flatMap(({ endAt, resources }) =>
    // what is held is not free now, even if it should have ended
    endAt === null ? [] : [{ at: Math.max(now + 1, endAt), amount: vectorOf(resources) }],
  );
  return makeTimeline(now, least(balance, vectorOf(left)), releases);
}

import type { Affinity, Constraint } from '../model/job.ts';
import type { Offer } from '../model/offer.ts';
import { noResources, type Resources } from '../model/resources.ts';
import { affinityScore, unmetConstraints } from './feasible.ts';
import { Heap } from './heap.ts';
import type { NodeState, SchedulingContext } from './offers.ts';
import { jobKey, type PendingTask } from './pending.ts';
import { makeTimeline, type Timeline } from './timeline.ts';
import { type Dimensions, dimensionsOf, least, minus, type Vector } from './vector.ts';

/** A node during one round; what it has is reckoned when it is first looked at, since most nodes of a large fleet never are. */
export class BoardNode {
  readonly state: NodeState;
  /** Its place in the order that breaks ties. */
  readonly index: number;
  readonly offer: Offer | undefined;
  /** Index of its profile and speed among those of the round. */
  readonly kind: number;
  /** What is left of the offer. */
  left: Resources;
  used = false;
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

  /** Undoes all that happens to it from now on. */
  save(): () => void {
    const { left, used } = this;
    const timeline = this.#timeline && { times: [...this.#timeline.times], free: [...this.#timeline.free] };
    const neighbours = this.#neighbours && copyOf(this.#neighbours);
    return () => {
      this.left = left;
      this.used = used;
      this.#timeline = timeline;
      this.#neighbours = neighbours && copyOf(neighbours);
      if (timeline !== undefined) this.#timeline = { times: [...timeline.times], free: [...timeline.free] };
    };
  }
}

/** The tasks that a node has, as far as they matter to others. */
export interface Neighbours {
  /** How many tasks of each job. */
  readonly instances: Map<string, number>;
  /** Jobs that one of them does not share a node with. */
  readonly shunned: Set<string>;
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

/** A node among those of its group, and a moment before which it has no room for what the group asks. */
export interface Candidate {
  readonly node: BoardNode;
  readonly notBefore: number;
}

/**
 * Nodes on which all tasks of a shape take equally long and are equally welcome, the one that may have room first in front. During a
 * round rooms only fill up, so an old `notBefore` is still true, and is made exact only when a node comes to the front.
 */
export interface Group {
  readonly kind: number;
  /** Of the affinities; 0 where there are none. */
  readonly score: number;
  readonly heap: Heap<Candidate>;
}

/** What tasks that ask for the same have in common, reckoned once a round. */
export interface Shape {
  readonly need: Vector;
  /** Nodes that are available and meet the constraints. */
  readonly nodes: readonly BoardNode[];
  readonly groups: readonly Group[];
  /** The highest score of its groups. */
  readonly bestScore: number;
  /** Milliseconds on each kind of node. */
  readonly expectedMs: readonly number[];
  /** On the fastest kind. */
  readonly shortestMs: number;
  /** Why a task of it got no place, now or reserved: in this round no other will either, since what is free only shrinks. */
  hopeless: string | undefined;
}

/** Smaller is better, the first number that differs decides. */
export type Rank = readonly number[];

export interface Ranked {
  readonly node: BoardNode;
  readonly rank: Rank;
}

/** Nodes in the order of a strategy, for all tasks of a job that ask for the same. */
export interface Ranking {
  readonly heap: Heap<Ranked>;
  readonly isBinpack: boolean;
  /** So many of the board's entries have been looked at. */
  seen: number;
}

/** All that one round works on; it changes as tasks are placed and is thrown away after. */
export interface Board {
  readonly now: number;
  readonly nodes: readonly BoardNode[];
  shapeOf(task: PendingTask): Shape;
  /** Tasks of a job on the nodes of each value of an attribute. */
  spreadOf(job: string, attribute: string): Map<string, number>;
  /** The order of the nodes by the strategy of `task`. */
  rankingOf(task: PendingTask, make: () => Ranking): Ranking;
  /** Nodes in the order in which they were given tasks. */
  readonly entered: readonly BoardNode[];
  /** A task has been launched on `node`. */
  enter(task: PendingTask, node: BoardNode): void;
  /** Undoes all that happens from now on, as often as it is called. */
  save(): () => void;
}

type Where = Pick<Shape, 'nodes' | 'groups' | 'bestScore'>;

export function makeBoard(
  offers: readonly Offer[],
  pending: readonly PendingTask[],
  context: SchedulingContext,
): Board {
  const dimensions = dimensionsOf(pending);
  const offerOf = new Map(offers.map(offer => [offer.node, offer]));
  const kinds = new Map<string, { readonly kind: number; readonly example: NodeState }>();
  const timeline = (node: BoardNode) => timelineOf(node, context.now, dimensions);
  const nodes = context.nodes.map((state, index) => {
    const key = `${state.profile} ${state.speed} ${state.slowdown ?? 1}`;
    const { kind } = kinds.get(key) ?? { kind: kinds.size };
    if (kind === kinds.size) kinds.set(key, { kind, example: state });
    return new BoardNode({ state, index, offer: offerOf.get(state.id), kind }, timeline);
  });
  const available = nodes.filter(({ state }) => state.unavailable === undefined);
  const examples = [...kinds.values()].map(({ example }) => example);
  const isSooner = (a: Candidate, b: Candidate) =>
    a.notBefore < b.notBefore || (a.notBefore === b.notBefore && a.node.index < b.node.index);

  /** Of each kind, in order. */
  const ofKind = new Map<number, Candidate[]>();
  for (const node of available) {
    const list = ofKind.get(node.kind);
    if (list === undefined) ofKind.set(node.kind, [{ node, notBefore: context.now }]);
    else list.push({ node, notBefore: context.now });
  }
  const everywhere = [...ofKind].map(([kind, candidates]) => ({ kind, score: 0, candidates }));

  function makeWhere({ constraints, affinities = [] }: PendingTask): Where {
    const isAnywhere = constraints.length === 0 && affinities.length === 0;
    const found = isAnywhere ? everywhere : everywhere.flatMap(each => byScore(each, constraints, affinities));
    const groups = found.map(({ kind, score, candidates }) => ({ kind, score, heap: new Heap(isSooner, candidates) }));
    const nodes = isAnywhere
      ? available
      : found.flatMap(({ candidates }) => candidates.map(({ node }) => node)).sort((a, b) => a.index - b.index);
    return { nodes, groups, bestScore: Math.max(0, ...groups.map(({ score }) => score)) };
  }

  let wheres = new Map<string, Where>();
  let shapes = new Map<string, Shape>();
  let ofTask = new Map<PendingTask, Shape>();
  let spreads = new Map<string, Map<string, number>>();
  let rankings = new Map<string, Ranking>();
  let entered: BoardNode[] = [];

  function shapeOf(task: PendingTask): Shape {
    const known = ofTask.get(task);
    if (known !== undefined) return known;
    const whereKey = whereKeyOf(task);
    const where = wheres.get(whereKey) ?? makeWhere(task);
    wheres.set(whereKey, where);
    const { class: name, type, strategy, expectedMs: told, maxRunMs } = task;
    const { spreadOver, togetherWith } = task;
    const asked = [name, jobKey(task), type, strategy, told, maxRunMs, spreadOver, togetherWith];
    const key = `${JSON.stringify(asked)}${whereKey}`;
    const shape = shapes.get(key) ?? makeShape(task, where);
    shapes.set(key, shape);
    ofTask.set(task, shape);
    return shape;
  }

  function makeShape(task: PendingTask, where: Where): Shape {
    const expectedMs = examples.map(node => context.expectedMs(task, node));
    const need = dimensions.needOf(task);
    return { ...where, need, expectedMs, shortestMs: Math.min(...expectedMs), hopeless: undefined };
  }

  function spreadOf(job: string, attribute: string): Map<string, number> {
    const key = `${job} ${attribute}`;
    const known = spreads.get(key);
    if (known !== undefined) return known;
    const counts = new Map<string, number>();
    for (const { state, neighbours } of nodes) {
      const value = state.attributes[attribute] ?? '';
      counts.set(value, (counts.get(value) ?? 0) + (neighbours.instances.get(job) ?? 0));
    }
    spreads.set(key, counts);
    return counts;
  }

  return {
    now: context.now,
    nodes,
    shapeOf,
    spreadOf,
    get entered() {
      return entered;
    },
    rankingOf(task, make) {
      const key = `${jobKey(task)} ${task.strategy} ${task.spreadOver} ${task.togetherWith} ${whereKeyOf(task)}`;
      const ranking = rankings.get(key) ?? make();
      rankings.set(key, ranking);
      return ranking;
    },
    enter(task, node) {
      entered.push(node);
      const job = jobKey(task);
      const { instances, shunned } = node.neighbours;
      instances.set(job, (instances.get(job) ?? 0) + 1);
      for (const other of task.apartFrom ?? []) shunned.add(other);
      if (task.spreadOver === undefined) return;
      const counts = spreadOf(job, task.spreadOver);
      const value = node.state.attributes[task.spreadOver] ?? '';
      counts.set(value, (counts.get(value) ?? 0) + 1);
    },
    save() {
      const saved = nodes.map(node => node.save());
      return () => {
        for (const restore of saved) restore();
        // what was found out about them since is not true any more
        wheres = new Map();
        shapes = new Map();
        ofTask = new Map();
        spreads = new Map();
        rankings = new Map();
        entered = [];
      };
    },
  };
}

interface Sorted {
  readonly kind: number;
  readonly score: number;
  readonly candidates: readonly Candidate[];
}

/** Those of a kind that meet the constraints, by how welcome they are. */
function byScore(
  { kind, candidates }: Sorted,
  constraints: readonly Constraint[],
  affinities: readonly Affinity[],
): Sorted[] {
  const grouped = new Map<number, Candidate[]>();
  for (const candidate of candidates) {
    const { attributes } = candidate.node.state;
    if (unmetConstraints(constraints, attributes).length > 0) continue;
    const score = affinityScore(affinities, attributes);
    const list = grouped.get(score);
    if (list === undefined) grouped.set(score, [candidate]);
    else list.push(candidate);
  }
  return [...grouped].map(([score, list]) => ({ kind, score, candidates: list }));
}

/** Tasks that share it ask the same nodes for the same room. */
function whereKeyOf(task: PendingTask): string {
  const { needs, portCount, nodePorts, constraints, affinities, maxPerNode, apartFrom } = task;
  // where tasks of one job are in each other's way, its nodes are its own
  const own = maxPerNode !== undefined || apartFrom !== undefined ? [jobKey(task), maxPerNode, apartFrom] : [];
  return JSON.stringify([needs.scalars, needs.sets, portCount, nodePorts, constraints, affinities, own]);
}

function timelineOf({ state, left }: BoardNode, now: number, { vectorOf }: Dimensions): Timeline {
  // an overdrawn node offers nothing of what it lacks, and what comes free first pays the debt
  const balance = minus(vectorOf(state.total), vectorOf(state.allocated));
  const releases = state.holdings.flatMap(({ endAt, resources }) =>
    // what is held is not free now, even if it should have ended
    endAt === null ? [] : [{ at: Math.max(now + 1, endAt), amount: vectorOf(resources) }],
  );
  return makeTimeline(now, least(balance, vectorOf(left)), releases);
}

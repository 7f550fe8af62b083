import type { Offer } from '../model/offer.ts';
import { noResources, type Resources } from '../model/resources.ts';
import { unmetConstraints } from './feasible.ts';
import type { NodeState, SchedulingContext } from './offers.ts';
import type { PendingTask } from './pending.ts';
import { makeTimeline, type Timeline } from './timeline.ts';
import { type Dimensions, dimensionsOf, least, minus, type Vector } from './vector.ts';

/** A node during one round. */
export interface BoardNode {
  readonly state: NodeState;
  readonly offer: Offer | undefined;
  readonly timeline: Timeline;
  /** Index of its profile and speed among those of the round. */
  readonly kind: number;
  /** What is left of the offer. */
  left: Resources;
  used: boolean;
  /** How many tasks of each job are on it. */
  readonly instances: Map<string, number>;
}

/** What tasks that ask for the same have in common, reckoned once a round. */
export interface Shape {
  readonly need: Vector;
  /** Nodes that are available and meet the constraints. */
  readonly nodes: readonly BoardNode[];
  /** Milliseconds on each kind of node. */
  readonly expectedMs: readonly number[];
  /** On the fastest kind. */
  readonly shortestMs: number;
  /** Why a task of it got no place, now or reserved: in this round no other will either, since what is free only shrinks. */
  hopeless: string | undefined;
}

/** All that one round works on; it changes as tasks are placed and is thrown away after. */
export interface Board {
  readonly now: number;
  readonly nodes: readonly BoardNode[];
  shapeOf(task: PendingTask): Shape;
}

export function makeBoard(
  offers: readonly Offer[],
  pending: readonly PendingTask[],
  context: SchedulingContext,
): Board {
  const dimensions = dimensionsOf(pending);
  const offerOf = new Map(offers.map(offer => [offer.node, offer]));
  const kinds = new Map<string, { readonly kind: number; readonly example: NodeState }>();
  const nodes = context.nodes.map(state => {
    const key = `${state.profile} ${state.speed}`;
    const { kind } = kinds.get(key) ?? { kind: kinds.size };
    if (kind === kinds.size) kinds.set(key, { kind, example: state });
    return makeBoardNode(state, offerOf.get(state.id), kind, context.now, dimensions);
  });
  const available = nodes.filter(({ state }) => state.unavailable === undefined);
  const examples = [...kinds.values()].map(({ example }) => example);
  const makeShape = (task: PendingTask): Shape => {
    const expectedMs = examples.map(node => context.expectedMs(task, node));
    return {
      need: dimensions.needOf(task),
      nodes: available.filter(node => unmetConstraints(task.constraints, node.state.attributes).length === 0),
      expectedMs,
      shortestMs: Math.min(...expectedMs),
      hopeless: undefined,
    };
  };
  return { now: context.now, nodes, shapeOf: memoize(makeShape) };
}

function makeBoardNode(
  state: NodeState,
  offer: Offer | undefined,
  kind: number,
  now: number,
  { vectorOf }: Dimensions,
): BoardNode {
  const left = offer?.resources ?? noResources;
  // an overdrawn node offers nothing of what it lacks, and what comes free first pays the debt
  const balance = minus(vectorOf(state.total), vectorOf(state.allocated));
  const releases = state.holdings.flatMap(({ endAt, resources }) =>
    // what is held is not free now, even if it should have ended
    endAt === null ? [] : [{ at: Math.max(now + 1, endAt), amount: vectorOf(resources) }],
  );
  const instances = new Map<string, number>();
  for (const { job } of state.holdings) instances.set(job, (instances.get(job) ?? 0) + 1);
  const timeline = makeTimeline(now, least(balance, vectorOf(left)), releases);
  return { state, offer, timeline, kind, left, used: false, instances };
}

function memoize(makeShape: (task: PendingTask) => Shape): (task: PendingTask) => Shape {
  const shapes = new Map<string, Shape>();
  const ofTask = new Map<PendingTask, Shape>();
  return task => {
    const known = ofTask.get(task);
    if (known !== undefined) return known;
    const { class: name, type, needs, portCount, nodePorts, constraints, strategy, expectedMs } = task;
    const asked = [needs.scalars, needs.sets, portCount, nodePorts];
    const key = JSON.stringify([name, type, asked, constraints, strategy, expectedMs]);
    const shape = shapes.get(key) ?? makeShape(task);
    shapes.set(key, shape);
    ofTask.set(task, shape);
    return shape;
  };
}

import type { Resources } from '../model/resources.ts';
import { BoardNode, timelineOf } from './board-node.ts';
import { affinityScore, unmetConstraints } from './feasible.ts';
import { Front } from './front.ts';
import type { Heap } from './heap.ts';
import type { NodeState, Offers, SchedulingContext } from './offers.ts';
import { jobKey, type PendingTask } from './pending.ts';
import { dimensionsOf, type Vector } from './vector.ts';

/**
 * Nodes on which all tasks of a shape take equally long and are equally welcome, the one that may have room first in front. During a
 * round rooms only fill up, so an old `notBefore` is still true, and is made exact only when a node comes to the front.
 */
export interface Group {
  readonly kind: number;
  /** Of the affinities; 0 where there are none. */
  readonly score: number;
  /** How long each of its nodes fetches what the tasks need. */
  readonly fetchMs: number;
  readonly front: Front;
}

/** The nodes that are available and meet the constraints of some tasks. */
export interface Where {
  readonly groups: readonly Group[];
  /** The highest score of its groups. */
  readonly bestScore: number;
  /** How many there are, where, and all of them, for the few who have to look at each. */
  readonly size: number;
  readonly indices: Int32Array;
  readonly nodes: readonly BoardNode[];
  /** How long a node fetches what the tasks need, as it was when the round began. */
  fetchMs(node: BoardNode): number;
  /** When nodes have what tasks of this round are to fetch there for all that come after. */
  readonly arrivals: ReadonlyMap<BoardNode, number>;
  /** A task with a place on `node` will have fetched it by `at`. */
  bring(node: BoardNode, at: number): void;
}

/** What tasks that ask for the same have in common, reckoned once a round. */
export interface Shape {
  readonly where: Where;
  readonly need: Vector;
  /** Milliseconds on each kind of node. */
  readonly expectedMs: readonly number[];
  /** On the fastest kind. */
  readonly shortestMs: number;
  /** Why a task of it got no place, now or reserved: in this round no other will either, since what is free only shrinks. */
  hopeless: string | undefined;
}

/** How long a task keeps a node busy that nobody has fetched anything for. */
export function takesMs({ expectedMs, where }: Shape, node: BoardNode): number {
  return where.fetchMs(node) + (expectedMs[node.kind] ?? 1);
}

/** How a strategy sees a node: the first number that differs decides, and smaller is better. One object, as large fleets have many. */
export interface Ranked {
  /** What its affinities are worth, less than nothing. */
  readonly liking: number;
  /** Of the job's tasks, those with its value of `spreadOver`, and its own. */
  readonly there: number;
  readonly instances: number;
  /** The part that is taken, below zero where more is better. */
  readonly taken: number;
  readonly index: number;
}

/** Nodes in the order of a strategy, for all tasks of a job that ask for the same. */
export interface Ranking {
  readonly heap: Heap<Ranked>;
  /** Under `binpack` the nodes in it: one that gets a task moves to the front, and so is ranked anew at once. */
  readonly ranked: ReadonlySet<number> | undefined;
  /** So many of the board's entries have been looked at. */
  seen: number;
}

/** What ranks a node beside others. */
export interface Glance {
  readonly attributes: NodeState['attributes'];
  readonly total: Resources;
  readonly left: Resources;
  /** So many tasks of the job. */
  readonly instances: number;
}

/** All that one round works on; it changes as tasks are placed and is thrown away after. */
export interface Board {
  readonly now: number;
  /** The first nodes of the fleet, all without a limit. */
  list(limit?: number): BoardNode[];
  /** Is there one that takes tasks? */
  readonly isOpen: boolean;
  shapeOf(task: PendingTask): Shape;
  nodeAt(index: number): BoardNode | undefined;
  /** What a node is and has left, without making it a part of the round. */
  glanceAt(index: number, job: string): Glance | undefined;
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

export function makeBoard(offers: Offers, pending: readonly PendingTask[], context: SchedulingContext): Board {
  const { now, roster } = context;
  const dimensions = dimensionsOf(pending);
  const timeline = (node: BoardNode) => timelineOf(node, now, dimensions);
  /** Null for one that nobody knows what it has. */
  const made: (BoardNode | null)[] = [];

  function nodeAt(index: number): BoardNode | undefined {
    const known = made[index];
    if (known !== undefined) return known ?? undefined;
    const state = context.stateOf(index);
    const offer = state && offers.of(state);
    const node = state && new BoardNode({ state, index, offer, kind: roster.kindOf(index) }, timeline);
    made[index] = node ?? null;
    return node;
  }

  const nodesAt = (indices: readonly number[]) => indices.map(nodeAt).filter(node => node !== undefined);

  function makeWhere({ constraints, affinities = [], artifacts = [] }: PendingTask): Where {
    const parts = roster.matching({ constraints, affinities, artifacts });
    const groups: Group[] = parts.map(({ members, ...part }) => ({ ...part, front: new Front(members, now, nodeAt) }));
    const arrivals = new Map<BoardNode, number>();
    let [indices, all]: [Int32Array?, BoardNode[]?] = [];
    const where: Where = {
      size: parts.reduce((sum, { members }) => sum + members.length, 0),
      get indices() {
        indices ??= Int32Array.from(parts.flatMap(({ members }) => members)).sort();
        return indices;
      },
      get nodes() {
        all ??= nodesAt([...this.indices]);
        return all;
      },
      groups,
      bestScore: Math.max(0, ...groups.map(({ score }) => score)),
      arrivals,
      fetchMs: ({ index }) => roster.fetchMs(index, artifacts),
      bring(node, at) {
        arrivals.set(node, at);
        const score = affinityScore(affinities, node.state.attributes);
        const isLike = (group: Group) => group.kind === node.kind && group.score === score && group.fetchMs === 0;
        const known = groups.find(isLike);
        const group = known ?? { kind: node.kind, score, fetchMs: 0, front: new Front([], now, nodeAt) };
        if (known === undefined) groups.push(group);
        group.front.push({ node, notBefore: at });
      },
    };
    for (const index of artifacts.length === 0 ? [] : (context.fetchingOn?.(artifacts) ?? [])) {
      const [node, fetchMs] = [nodeAt(index), roster.fetchMs(index, artifacts)];
      if (node === undefined || fetchMs === 0 || arrivals.has(node) || node.state.unavailable !== undefined) continue;
      if (unmetConstraints(constraints, node.state.attributes).length === 0) where.bring(node, now + fetchMs);
    }
    return where;
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
    const keys = keysOf(task);
    const where = wheres.get(keys.where) ?? makeWhere(task);
    wheres.set(keys.where, where);
    const shape = shapes.get(keys.shape) ?? makeShape(task, where);
    shapes.set(keys.shape, shape);
    ofTask.set(task, shape);
    return shape;
  }

  function makeShape(task: PendingTask, where: Where): Shape {
    const expectedMs = roster.kinds.map(({ example }) => context.expectedMs(task, example));
    const need = dimensions.needOf(task);
    return { where, need, expectedMs, shortestMs: Math.min(...expectedMs), hopeless: undefined };
  }

  function spreadOf(job: string, attribute: string): Map<string, number> {
    const key = `${job} ${attribute}`;
    const known = spreads.get(key);
    if (known !== undefined) return known;
    const counts = new Map<string, number>();
    const count = (index: number, by: number) => {
      const value = roster.nodes[index]?.attributes[attribute] ?? '';
      counts.set(value, (counts.get(value) ?? 0) + by);
    };
    const before = context.instancesOf(job);
    for (const [index, number] of before) if (!made[index]) count(index, number);
    for (const node of made) if (node) count(node.index, node.neighbours.instances.get(job) ?? 0);
    spreads.set(key, counts);
    return counts;
  }

  return {
    now,
    list: (limit = roster.nodes.length) =>
      nodesAt(Array.from({ length: Math.min(limit, roster.nodes.length) }, (_, index) => index)),
    isOpen: roster.kinds.some(({ members }) => members.length > 0),
    shapeOf,
    nodeAt,
    glanceAt(index, job) {
      const node = made[index];
      const room = node ? { total: node.state.total, free: node.left } : context.roomOf(index);
      if (room === undefined) return undefined;
      return {
        attributes: roster.nodes[index]?.attributes ?? {},
        total: room.total,
        left: room.free,
        instances: (node ? node.neighbours.instances.get(job) : context.instancesOf(job).get(index)) ?? 0,
      };
    },
    spreadOf,
    get entered() {
      return entered;
    },
    rankingOf(task, make) {
      const key = `${jobKey(task)} ${task.strategy} ${task.spreadOver} ${task.togetherWith} ${keysOf(task).where}`;
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
      const saved = new Map(made.flatMap(node => (node ? [[node, node.save()] as const] : [])));
      return () => {
        for (const node of made) if (node) (saved.get(node) ?? (() => node.reset()))();
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

interface Keys {
  /** Tasks that share it ask the same nodes for the same room, */
  readonly where: string;
  /** and those that share this are alike to the scheduler. */
  readonly shape: string;
}

/** A task that waits does so for many rounds, and does not change. */
const known = new WeakMap<PendingTask, Keys>();

function keysOf(task: PendingTask): Keys {
  const keys = known.get(task) ?? makeKeys(task);
  known.set(task, keys);
  return keys;
}

function makeKeys(task: PendingTask): Keys {
  const { class: name, type, strategy, expectedMs, maxRunMs, spreadOver, togetherWith } = task;
  const { needs, portCount, nodePorts, constraints, affinities, artifacts, maxPerNode, apartFrom } = task;
  // where tasks of one job are in each other's way, its nodes are its own
  const own = maxPerNode !== undefined || apartFrom !== undefined ? [jobKey(task), maxPerNode, apartFrom] : [];
  const where = JSON.stringify([
    needs.scalars,
    needs.sets,
    portCount,
    nodePorts,
    constraints,
    affinities,
    artifacts,
    own,
  ]);
  const asked = [name, jobKey(task), type, strategy, expectedMs, maxRunMs, spreadOver, togetherWith];
  return { where, shape: `${JSON.stringify(asked)}${where}` };
}

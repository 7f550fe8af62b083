import type { Resources } from '../model/resources.ts';
import type { Board, Glance, Group, Ranked, Ranking, Shape } from './board.ts';
import type { BoardNode } from './board-node.ts';
import { affinityScore, unmetNeighbours } from './feasible.ts';
import type { Candidate } from './front.ts';
import { Heap } from './heap.ts';
import { jobKey, type PendingTask } from './pending.ts';
import { earliestStart } from './timeline.ts';

/** Where and when a task should run. */
export interface Choice {
  readonly node: BoardNode;
  readonly startAt: number;
  /** For a service: when it would have ended if it took as long as reckoned with. */
  readonly endAt: number;
  /** So much of that goes into fetching what is not there yet. */
  readonly fetchMs: number;
  /** How long it keeps its resources: a service keeps them for good. */
  readonly holdMs: number;
}

/** The place for a task by its own strategy, now or later; undefined when no node is expected to have room ever. */
export function chooseNode(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  switch (task.strategy) {
    case 'completionTime':
      return soonestEnd(board, task, shape);
    case 'spread':
    case 'binpack':
      return bestNow(board, task, shape) ?? soonestEnd(board, task, shape);
    default:
      return task.strategy satisfies never;
  }
}

/** Its place on one node, where it has one. */
export function placeOn(board: Board, task: PendingTask, shape: Shape, node: BoardNode): Choice | undefined {
  if (unmetNeighbours(task, node.neighbours).length > 0) return undefined;
  return startOn(board, task, shape, node, shape.where.fetchMs(node));
}

/** Its first place on a node that fetches for so long, or for as long as tasks ahead of it yet do. */
function startOn(board: Board, task: PendingTask, shape: Shape, node: BoardNode, fetchMs: number): Choice | undefined {
  const { where, need, expectedMs } = shape;
  const fetching = (fetchMs: number): Choice | undefined => {
    const takesMs = fetchMs + (expectedMs[node.kind] ?? 1);
    const holdMs = holdOf(task, takesMs);
    const startAt = readyAt(board, node, need, holdMs);
    if (startAt === undefined || isClosing(node, startAt + takesMs)) return undefined;
    return { node, startAt, endAt: startAt + takesMs, fetchMs, holdMs };
  };
  const arrivesAt = where.arrivals.get(node);
  if (arrivesAt === undefined) return fetching(fetchMs);
  const choice = fetching(0);
  const leftMs = choice === undefined ? 0 : Math.min(where.fetchMs(node), arrivesAt - choice.startAt);
  return leftMs > 0 ? fetching(leftMs) : choice;
}

/**
 * Minimum completion time over all nodes, the first of equals. A point of a missed affinity costs a hundredth of the time that
 * the task takes.
 */
function soonestEnd(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  // who has to be there before it may come to any node during the round
  if (task.togetherWith !== undefined) return soonestOf(board, task, shape);
  let best: { readonly choice: Choice; readonly cost: number } | undefined;
  for (const group of shape.where.groups) {
    const expectedMs = shape.expectedMs[group.kind] ?? 1;
    const price = priceOf(shape, group, expectedMs);
    if (best !== undefined && board.now + group.fetchMs + expectedMs + price > best.cost) continue;
    const found = firstReady(board, task, shape, group);
    if (found === undefined) continue;
    const cost = found.endAt + price;
    const isFirst = cost === best?.cost && found.node.index < best.choice.node.index;
    if (best === undefined || cost < best.cost || isFirst) best = { choice: found, cost };
  }
  return best?.choice;
}

function soonestOf(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  let best: Choice | undefined;
  for (const node of shape.where.nodes) {
    const choice = placeOn(board, task, shape, node);
    if (choice !== undefined && (best === undefined || choice.endAt < best.endAt)) best = choice;
  }
  return best;
}

function priceOf({ where: { bestScore } }: Shape, { score }: Group, expectedMs: number): number {
  return bestScore === score ? 0 : (expectedMs * (bestScore - score)) / 100;
}

/** Of a group the node that is ready first: those in front are looked at until no other can be sooner. */
function firstReady(board: Board, task: PendingTask, shape: Shape, group: Group): Choice | undefined {
  const { front, fetchMs } = group;
  const { arrivals } = shape.where;
  const leastMs = fetchMs + (shape.expectedMs[group.kind] ?? 1);
  const seen: Candidate[] = [];
  let best: Choice | undefined;
  for (let first = front.first; first !== undefined && mayBeSooner(first, leastMs, best); first = front.first) {
    front.pop();
    const { node } = first;
    const arrivesAt = arrivals.get(node);
    // a task ahead fetches it: by now the node is in another group
    if (fetchMs > 0 && arrivesAt !== undefined) continue;
    const ready = readyAt(board, node, shape.need, 0);
    // it fits at no time: in this round it never will
    if (ready === undefined) continue;
    const notBefore = arrivesAt === undefined ? ready : Math.max(ready, arrivesAt);
    seen.push(notBefore === first.notBefore ? first : { node, notBefore });
    if ((best !== undefined && notBefore + leastMs > best.endAt) || unmetNeighbours(task, node.neighbours).length > 0)
      continue;
    const choice = startOn(board, task, shape, node, fetchMs);
    if (choice === undefined) continue;
    const isFirst = choice.endAt === best?.endAt && node.index < best.node.index;
    if (best === undefined || choice.endAt < best.endAt || isFirst) best = choice;
  }
  for (const candidate of seen) front.push(candidate);
  return best;
}

function mayBeSooner({ notBefore, node }: Candidate, leastMs: number, best: Choice | undefined): boolean {
  if (best === undefined) return true;
  const endAt = notBefore + leastMs;
  return endAt < best.endAt || (endAt === best.endAt && node.index < best.node.index);
}

/** Of the nodes that have room now the best one by the task's strategy, the first of equals. */
function bestNow(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  const { heap, ranked: all } = rankingOf(board, task, shape);
  const seen: Ranked[] = [];
  let best: Choice | undefined;
  for (let front = heap.pop(); front !== undefined; front = heap.pop()) {
    const rank = rankOf(board, task, front.index);
    if (compareRanks(rank, front) !== 0) {
      // it has got a task since: under `binpack` it was ranked anew then, under `spread` it only stands too far in front
      if (all === undefined) heap.push(rank);
      continue;
    }
    const node = board.nodeAt(front.index);
    const choice = node && placeOn(board, task, shape, node);
    const hasRoom = choice?.startAt === board.now;
    // room does not come in a round, a neighbour may
    if (hasRoom || task.togetherWith !== undefined) seen.push(front);
    if (!hasRoom) continue;
    best = choice;
    break;
  }
  for (const ranked of seen) heap.push(ranked);
  return best;
}

function rankingOf(board: Board, task: PendingTask, shape: Shape): Ranking {
  const ranking = board.rankingOf(task, () => {
    const heap = new Heap<Ranked>(isBetter);
    const { indices } = shape.where;
    for (const index of indices) heap.push(rankOf(board, task, index));
    return { heap, ranked: task.strategy === 'binpack' ? new Set(indices) : undefined, seen: board.entered.length };
  });
  const { ranked } = ranking;
  for (; ranked !== undefined && ranking.seen < board.entered.length; ranking.seen++) {
    const { index } = board.entered[ranking.seen] ?? { index: -1 };
    if (ranked.has(index)) ranking.heap.push(rankOf(board, task, index));
  }
  return ranking;
}

function rankOf(board: Board, task: PendingTask, index: number): Ranked {
  const job = jobKey(task);
  const glance = board.glanceAt(index, job);
  if (glance === undefined) return { liking: Number.POSITIVE_INFINITY, there: 0, instances: 0, taken: 0, index };
  const { attributes, instances } = glance;
  const { affinities = [], strategy, spreadOver } = task;
  const liking = -affinityScore(affinities, attributes);
  if (strategy === 'binpack') return { liking, there: 0, instances: 0, taken: -usedShare(glance), index };
  const there = spreadOver === undefined ? 0 : (board.spreadOf(job, spreadOver).get(attributes[spreadOver] ?? '') ?? 0);
  return { liking, there, instances, taken: usedShare(glance), index };
}

function isBetter(a: Ranked, b: Ranked): boolean {
  return compareRanks(a, b) < 0;
}

function compareRanks(a: Ranked, b: Ranked): number {
  if (a.liking !== b.liking) return a.liking - b.liking;
  return a.there - b.there || a.instances - b.instances || a.taken - b.taken || a.index - b.index;
}

/** The part of the node's cores or memory that is taken, whichever is larger. */
function usedShare({ total, left }: Glance): number {
  return Math.max(takenShare(total, left, 'cpus'), takenShare(total, left, 'mem'));
}

function takenShare(total: Resources, left: Resources, name: string): number {
  const amount = total.scalars[name] ?? 0;
  return amount === 0 ? 0 : 1 - (left.scalars[name] ?? 0) / amount;
}

/** A node without an offer has nothing to give now, not even to a task that needs nothing. */
function readyAt({ now }: Board, { offer, timeline }: BoardNode, need: Shape['need'], holdMs: number) {
  const start = earliestStart(timeline, need, holdMs);
  return start === now && offer === undefined ? undefined : start;
}

/** Will it take no tasks any more by then? A service, which has no end, counts by what is reckoned for it. */
export function isClosing({ state: { closesAt } }: BoardNode, endAt: number): boolean {
  return closesAt !== undefined && endAt > closesAt;
}

function holdOf(task: PendingTask, expectedMs: number): number {
  return task.type === 'service' ? Number.POSITIVE_INFINITY : expectedMs;
}

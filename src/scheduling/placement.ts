import type { Resources } from '../model/resources.ts';
import type { Board, BoardNode, Shape } from './board.ts';
import { earliestCompletion } from './completion-time.ts';
import { jobKey, type PendingTask } from './pending.ts';
import { earliestStart } from './timeline.ts';

/** Where and when a task should run. */
export interface Choice {
  readonly node: BoardNode;
  readonly startAt: number;
  /** For a service: when it would have ended if it took as long as reckoned with. */
  readonly endAt: number;
  /** How long it keeps its resources: a service keeps them for good. */
  readonly holdMs: number;
}

/** The place for a task by its own strategy, now or later; undefined when no node is expected to have room ever. */
export function chooseNode(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  switch (task.strategy) {
    case 'completionTime':
      return soonestEnd(board, task, shape);
    case 'spread':
      return bestNow(board, task, shape, isMoreSpread) ?? soonestEnd(board, task, shape);
    case 'binpack':
      return bestNow(board, task, shape, isFuller) ?? soonestEnd(board, task, shape);
    default:
      return task.strategy satisfies never;
  }
}

function soonestEnd(board: Board, task: PendingTask, shape: Shape): Choice | undefined {
  const expected = (index: number) => shape.expectedMs[shape.nodes[index]?.kind ?? 0] ?? 1;
  const ready = (index: number) => {
    const node = shape.nodes[index];
    return node === undefined ? undefined : readyAt(board, node, shape.need, holdOf(task, expected(index)));
  };
  const best = earliestCompletion(shape.nodes.length, ready, expected);
  const node = best === undefined ? undefined : shape.nodes[best.node];
  if (best === undefined || node === undefined) return undefined;
  return { node, startAt: best.startAt, endAt: best.endAt, holdMs: holdOf(task, expected(best.node)) };
}

type Better = (task: PendingTask, node: BoardNode, than: BoardNode) => boolean;

/** Of the nodes that have room now the best one, the first of equals. */
function bestNow(board: Board, task: PendingTask, shape: Shape, better: Better): Choice | undefined {
  let best: Choice | undefined;
  for (const node of shape.nodes) {
    const expectedMs = shape.expectedMs[node.kind] ?? 1;
    const holdMs = holdOf(task, expectedMs);
    if (readyAt(board, node, shape.need, holdMs) !== board.now) continue;
    if (best === undefined || better(task, node, best.node)) {
      best = { node, startAt: board.now, endAt: board.now + expectedMs, holdMs };
    }
  }
  return best;
}

function isMoreSpread(task: PendingTask, a: BoardNode, b: BoardNode): boolean {
  const job = jobKey(task);
  const fewer = (a.instances.get(job) ?? 0) - (b.instances.get(job) ?? 0);
  return fewer !== 0 ? fewer < 0 : usedShare(a) < usedShare(b);
}

function isFuller(_task: PendingTask, a: BoardNode, b: BoardNode): boolean {
  return usedShare(a) > usedShare(b);
}

/** The part of the node's cores or memory that is taken, whichever is larger. */
function usedShare({ state, left }: BoardNode): number {
  return Math.max(takenShare(state.total, left, 'cpus'), takenShare(state.total, left, 'mem'));
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

function holdOf(task: PendingTask, expectedMs: number): number {
  return task.type === 'service' ? Number.POSITIVE_INFINITY : expectedMs;
}

import { hourMs, minuteMs, secondMs } from '../base/clock.ts';
import { isInRanges, nodePorts } from '../model/resources.ts';
import { type Board, type Shape, takesMs } from './board.ts';
import type { BoardNode } from './board-node.ts';
import { unmetConstraints, unmetNeeds, unmetNeighbours } from './feasible.ts';
import type { NodeReason, Preemption } from './offers.ts';
import type { PendingTask } from './pending.ts';
import { type Choice, isClosing } from './placement.ts';

/** Why a task that has a place in the future does not run yet. */
export function explainWait({ now }: Board, { node, startAt }: Choice, isPromised: boolean): string {
  const where = `waits for node ${node.state.id},${isPromised ? ' where others end for it,' : ''}`;
  return `${where} expected free in ${printWait(startAt - now)}`;
}

/** So many of those that are ended for a task are named. */
const maxNamed = 4;

export function explainPreemption({ node, victims }: Preemption): string {
  const more = victims.length > maxNamed ? ` and ${victims.length - maxNamed} more` : '';
  return `ends ${victims.slice(0, maxNamed).join(', ')}${more} on node ${node} for its place`;
}

/** Why no node will have room for a task, as far as can be foreseen. */
export function explainNoRoom(board: Board, task: PendingTask): string {
  const { nodes } = board.shapeOf(task).where;
  const taken = task.nodePorts?.find(port =>
    nodes.every(({ left }) => !isInRanges(port, left.ranges[nodePorts] ?? [])),
  );
  const room = taken === undefined ? 'room' : `port ${taken} free`;
  return whyNever(board, task) ?? `no node has ${room}, and nothing that runs there is expected to end`;
}

/** Why it may not have a place by the quota of roles, unless there would be none for it anyway. */
export function explainRefusal(board: Board, task: PendingTask, why: string): string {
  return whyNever(board, task) ?? why;
}

function whyNever(board: Board, task: PendingTask): string | undefined {
  if (!board.isOpen) return 'no node is available';
  const { nodes } = board.shapeOf(task).where;
  if (nodes.every(({ state }) => unmetNeeds(task, { total: state.total, free: state.total }).length > 0)) {
    return 'fits on no node';
  }
  if (nodes.every(node => unmetNeighbours(task, node.neighbours).length > 0)) return 'no node has the right neighbours';
  return undefined;
}

/**
 * Tells node by node, for the first `limit` nodes or all, why a task is not there. Made when all places of a round are given: what
 * tasks of one shape lack is then the same.
 */
export function explainerOf(
  board: Board,
  limit?: number,
): (task: PendingTask, choice: Choice | undefined, refusal: string | undefined) => NodeReason[] {
  const nodes = board.list(limit);
  const lacking = new Map<Shape, readonly string[]>();
  return (task, choice, refusal) => {
    const shape = board.shapeOf(task);
    const lacks = lacking.get(shape) ?? nodes.map(node => whyUnfit(task, node));
    lacking.set(shape, lacks);
    return nodes.map((node, i) => ({
      node: node.state.id,
      why: lacks[i] || (refusal ?? whyNotNow(board, shape, node, choice)),
    }));
  };
}

/** Empty when the task would fit in what is left. */
function whyUnfit(task: PendingTask, node: BoardNode): string {
  const { state, left } = node;
  if (state.unavailable !== undefined) return state.unavailable;
  return [
    ...unmetConstraints(task.constraints, state.attributes),
    ...unmetNeeds(task, { total: state.total, free: left }),
    ...unmetNeighbours(task, node.neighbours),
  ].join('; ');
}

function whyNotNow({ now }: Board, shape: Shape, node: BoardNode, choice: Choice | undefined): string {
  const { closesAt = Number.POSITIVE_INFINITY } = node.state;
  const endAt = now + takesMs(shape, node);
  if (isClosing(node, endAt)) return `is drained in ${printWait(closesAt - now)}, before it would end`;
  const laterMs = choice === undefined ? 0 : endAt - choice.endAt;
  return choice !== undefined && choice.node !== node && laterMs > 0
    ? `has room, but it would end ${printWait(laterMs)} later than on ${choice.node.state.id}`
    : 'what is free is kept for tasks ahead of it';
}

function printWait(ms: number): string {
  if (ms < secondMs) return 'less than 1 s';
  if (ms < 2 * minuteMs) return `${Math.round(ms / secondMs)} s`;
  return ms < 2 * hourMs ? `${Math.round(ms / minuteMs)} min` : `${Math.round(ms / hourMs)} h`;
}

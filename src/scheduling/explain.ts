import { hourMs, minuteMs, secondMs } from '../base/clock.ts';
import type { Board, BoardNode } from './board.ts';
import { unmetConstraints, unmetNeeds } from './feasible.ts';
import type { NodeReason } from './offers.ts';
import type { PendingTask } from './pending.ts';
import type { Choice } from './placement.ts';

/** Why a task that has a place in the future does not run yet. */
export function explainWait({ now }: Board, { node, startAt }: Choice): string {
  return `waits for node ${node.state.id}, expected free in ${printWait(startAt - now)}`;
}

/** Why no node will have room for a task, as far as can be foreseen. */
export function explainNoRoom(board: Board, task: PendingTask): string {
  const { nodes } = board.shapeOf(task);
  if (board.nodes.every(({ state }) => state.unavailable !== undefined)) return 'no node is available';
  if (nodes.every(({ state }) => unmetNeeds(task, { total: state.total, free: state.total }).length > 0)) {
    return 'fits on no node';
  }
  return 'no node has room, and nothing that runs there is expected to end';
}

/** Node by node why the task is not there now, for the first `limit` nodes. */
export function explainNodes(board: Board, task: PendingTask, choice: Choice | undefined, limit: number): NodeReason[] {
  return board.nodes.slice(0, limit).map(node => ({ node: node.state.id, why: whyNotHere(board, task, choice, node) }));
}

function whyNotHere(board: Board, task: PendingTask, choice: Choice | undefined, node: BoardNode): string {
  const { state, left, kind } = node;
  if (state.unavailable !== undefined) return state.unavailable;
  const unmet = [
    ...unmetConstraints(task.constraints, state.attributes),
    ...unmetNeeds(task, { total: state.total, free: left }),
  ];
  if (unmet.length > 0) return unmet.join('; ');
  const later = choice === undefined ? 0 : board.now + (board.shapeOf(task).expectedMs[kind] ?? 0) - choice.endAt;
  if (choice !== undefined && choice.node !== node && later > 0) {
    return `has room, but it would end ${printWait(later)} later than on ${choice.node.state.id}`;
  }
  return 'what is free is kept for tasks ahead of it';
}

function printWait(ms: number): string {
  if (ms < secondMs) return 'less than 1 s';
  if (ms < 2 * minuteMs) return `${Math.round(ms / secondMs)} s`;
  return ms < 2 * hourMs ? `${Math.round(ms / minuteMs)} min` : `${Math.round(ms / hourMs)} h`;
}

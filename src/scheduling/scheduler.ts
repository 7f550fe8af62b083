import { minuteMs } from '../base/clock.ts';
import { type Resources, rangesOf, subtractResources, takeFromRanges } from '../model/resources.ts';
import { type Board, makeBoard } from './board.ts';
import { explainNodes, explainNoRoom, explainWait } from './explain.ts';
import type { Launch, Scheduler, Waiting } from './offers.ts';
import { jobKey, type PendingTask } from './pending.ts';
import { type Choice, chooseNode } from './placement.ts';
import { type RankSettings, rankPending } from './rank.ts';
import { reserve } from './timeline.ts';

export interface SchedulerSettings extends RankSettings {
  /** So many waiting tasks keep a place in the future; those behind them only use what nobody ahead will need. */
  readonly maxReservations: number;
  /** So many waiting tasks are told node by node why they wait, and of so many nodes. */
  readonly maxExplained: number;
  readonly maxReasons: number;
}

export const defaultSchedulerSettings: SchedulerSettings = {
  order: 'longestFirst',
  agingMs: minuteMs,
  maxReservations: 1000,
  maxExplained: 100,
  maxReasons: 16,
};

interface Unplaced {
  readonly task: PendingTask;
  readonly choice: Choice | undefined;
}

/**
 * The built-in scheduler: tasks choose in the order of their rank, each by its own strategy. One that has to wait keeps its
 * place in the future, and those behind it only fill what it leaves: so a large task is not starved by small ones.
 */
export function makeScheduler(settings: SchedulerSettings = defaultSchedulerSettings): Scheduler {
  return {
    name: 'built-in',
    place(offers, pending, context) {
      const board = makeBoard(offers, pending, context);
      const launches: Launch[] = [];
      const unplaced: Unplaced[] = [];
      let places = settings.maxReservations;
      const shortestMs = (task: PendingTask) => board.shapeOf(task).shortestMs;
      for (const task of rankPending(pending, context.now, settings, shortestMs)) {
        const choice = choose(board, task);
        const launch = choice?.startAt === board.now ? launchOn(board, task, choice) : undefined;
        if (launch !== undefined) {
          launches.push(launch);
        } else if (choice !== undefined && places > 0) {
          places--;
          reserve(choice.node.timeline, board.shapeOf(task).need, choice.startAt, choice.holdMs);
          unplaced.push({ task, choice });
        } else {
          board.shapeOf(task).hopeless ??=
            choice === undefined
              ? explainNoRoom(board, task)
              : `waits behind ${settings.maxReservations} tasks that keep a place`;
          unplaced.push({ task, choice: undefined });
        }
      }
      const declined = board.nodes.flatMap(({ offer, used }) => (offer === undefined || used ? [] : [offer.id]));
      return { launches, waiting: explainAll(board, unplaced, settings), declined };
    },
  };
}

function choose(board: Board, task: PendingTask): Choice | undefined {
  const shape = board.shapeOf(task);
  return shape.hopeless === undefined ? chooseNode(board, task, shape) : undefined;
}

/** Takes the task's part of the node's offer; undefined when the offer does not hold it. */
function launchOn(board: Board, task: PendingTask, { node, startAt, endAt, holdMs }: Choice): Launch | undefined {
  const ports = takeFromRanges(node.left.ranges.ports ?? [], task.portCount);
  if (node.offer === undefined || ports === undefined) return undefined;
  const { scalars, sets } = task.needs;
  const resources: Resources = { scalars, ranges: ports.length === 0 ? {} : { ports: rangesOf(ports) }, sets };
  reserve(node.timeline, board.shapeOf(task).need, startAt, holdMs);
  node.left = subtractResources(node.left, resources);
  node.used = true;
  node.instances.set(jobKey(task), (node.instances.get(jobKey(task)) ?? 0) + 1);
  const expectedEndAt = task.type === 'service' ? null : endAt;
  return { offer: node.offer.id, task: task.id, resources, ports, expectedEndAt };
}

function explainAll(board: Board, unplaced: readonly Unplaced[], settings: SchedulerSettings): Waiting[] {
  return unplaced.map(({ task, choice }, index) => ({
    task: task.id,
    why: choice === undefined ? (board.shapeOf(task).hopeless ?? '') : explainWait(board, choice),
    reasons: index < settings.maxExplained ? explainNodes(board, task, choice, settings.maxReasons) : [],
    expected:
      choice === undefined
        ? null
        : {
            node: choice.node.state.id,
            startAt: choice.startAt,
            endAt: task.type === 'service' ? null : choice.endAt,
          },
  }));
}

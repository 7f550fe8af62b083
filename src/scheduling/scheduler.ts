import { minuteMs } from '../base/clock.ts';
import { nodePorts, type Resources, rangesOf, subtractResources, takeFromRanges } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { type Board, makeBoard } from './board.ts';
import { explainerOf, explainNoRoom, explainWait } from './explain.ts';
import type { FairShares } from './fairness.ts';
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
  /** Where it is not about nodes. */
  readonly why?: string;
}

interface Round {
  readonly board: Board;
  readonly launches: Launch[];
  readonly unplaced: Unplaced[];
  /** How many tasks may yet keep a place in the future. */
  places: number;
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
      const round: Round = { board, launches: [], unplaced: [], places: settings.maxReservations };
      const shortestMs = (task: PendingTask) => board.shapeOf(task).shortestMs;
      const ranked = rankPending(pending, context.now, settings, shortestMs);
      for (const task of inTurn(ranked, context.shares)) {
        const why = context.shares.whyNot(roleOf(task), task.needs.scalars);
        if (why !== undefined) {
          round.unplaced.push({ task, choice: undefined, why });
          continue;
        }
        context.shares.grant(roleOf(task), task.needs.scalars);
        settle(round, task, settings);
      }
      return {
        launches: round.launches,
        waiting: explainAll(board, round.unplaced, settings),
        declined: board.nodes.flatMap(({ offer, used }) => (offer === undefined || used ? [] : [offer.id])),
      };
    },
  };
}

/** Tasks by rank inside a role; of the roles the one that has least for its weight goes first, with what it was granted till then. */
function* inTurn(ranked: readonly PendingTask[], shares: FairShares): Generator<PendingTask> {
  const queues = new Map<string, { readonly role: string; readonly name: string; readonly tasks: PendingTask[] }>();
  for (const task of ranked) {
    const role = roleOf(task);
    const queue = queues.get(role) ?? { role, name: '', tasks: [] };
    queue.tasks.push(task);
    queues.set(role, queue);
  }
  const claims = [...queues.values()].map(queue => ({ ...queue, next: 0 }));
  for (let left = ranked.length; left > 0; left--) {
    const claim =
      claims.length === 1 ? claims[0] : shares.first(claims.filter(({ next, tasks }) => next < tasks.length));
    const task = claim?.tasks[claim.next];
    if (claim === undefined || task === undefined) return;
    claim.next++;
    yield task;
  }
}

function roleOf({ role = defaultRole }: PendingTask): string {
  return role;
}

/** Launches the task, or keeps a place for it, or leaves it without. */
function settle(round: Round, task: PendingTask, { maxReservations }: SchedulerSettings): void {
  const { board } = round;
  const shape = board.shapeOf(task);
  const choice = shape.hopeless === undefined ? chooseNode(board, task, shape) : undefined;
  const launch = choice?.startAt === board.now ? launchOn(board, task, choice) : undefined;
  if (launch !== undefined) {
    round.launches.push(launch);
  } else if (choice !== undefined && round.places > 0) {
    round.places--;
    reserve(choice.node.timeline, shape.need, choice.startAt, choice.holdMs);
    round.unplaced.push({ task, choice });
  } else {
    const crowded = `waits behind ${maxReservations} tasks that keep a place`;
    shape.hopeless ??= choice === undefined ? explainNoRoom(board, task) : crowded;
    round.unplaced.push({ task, choice: undefined });
  }
}

/** Takes the task's part of the node's offer; undefined when the offer does not hold it. */
function launchOn(board: Board, task: PendingTask, { node, startAt, endAt, holdMs }: Choice): Launch | undefined {
  const ports = takeFromRanges(node.left.ranges.ports ?? [], task.portCount);
  if (node.offer === undefined || ports === undefined) return undefined;
  const { scalars, sets } = task.needs;
  const numbered = task.nodePorts ?? [];
  const ranges = {
    ...(ports.length > 0 && { ports: rangesOf(ports) }),
    ...(numbered.length > 0 && { [nodePorts]: rangesOf(numbered) }),
  };
  const resources: Resources = { scalars, ranges, sets };
  reserve(node.timeline, board.shapeOf(task).need, startAt, holdMs);
  node.left = subtractResources(node.left, resources);
  node.used = true;
  node.instances.set(jobKey(task), (node.instances.get(jobKey(task)) ?? 0) + 1);
  const expectedEndAt = task.type === 'service' ? null : endAt;
  return { offer: node.offer.id, task: task.id, resources, ports, expectedEndAt };
}

function explainAll(board: Board, unplaced: readonly Unplaced[], settings: SchedulerSettings): Waiting[] {
  const explain = explainerOf(board, settings.maxReasons);
  return unplaced.map(({ task, choice, why }, index) => ({
    task: task.id,
    why: why ?? (choice === undefined ? (board.shapeOf(task).hopeless ?? '') : explainWait(board, choice)),
    reasons: why === undefined && index < settings.maxExplained ? explain(task, choice) : [],
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

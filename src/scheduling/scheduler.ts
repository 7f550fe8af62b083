import { minuteMs } from '../base/clock.ts';
import { subtractResources } from '../model/resources.ts';
import { betterNodes } from './batch-run.ts';
import { type Board, makeBoard, type Shape } from './board.ts';
import type { BoardNode } from './board-node.ts';
import { explainerOf, explainNoRoom, explainPreemption, explainRefusal, explainWait } from './explain.ts';
import type { FairShares } from './fairness.ts';
import type { Launch, Preemption, Scheduler, SchedulingContext, Search, Waiting } from './offers.ts';
import type { PendingTask } from './pending.ts';
import { type Choice, chooseNode, placeOn } from './placement.ts';
import { preempt } from './preempt.ts';
import { type RankSettings, rankPending } from './rank.ts';
import { isBetter, roleOf, runsOf } from './runs.ts';
import { takeFor } from './take.ts';
import { reserve } from './timeline.ts';

export interface SchedulerSettings extends RankSettings {
  /** So many waiting tasks keep a place in the future; those behind them only use what nobody ahead will need. */
  readonly maxReservations: number;
  /** So many waiting tasks are told node by node why they wait, and of so many nodes. */
  readonly maxExplained: number;
  readonly maxReasons: number;
  /** For so many tasks of a round others may be ended. */
  readonly maxPreemptions: number;
}

export const defaultSchedulerSettings: SchedulerSettings = {
  order: 'longestFirst',
  agingMs: minuteMs,
  maxReservations: 1000,
  maxExplained: 100,
  maxReasons: 16,
  maxPreemptions: 16,
};

/** So many milliseconds at most go into making the plan of a batch shorter. */
export const defaultSearchMs = 120;

interface Unplaced {
  readonly task: PendingTask;
  readonly choice: Choice | undefined;
  /** Where it is not about nodes. */
  readonly why?: string | undefined;
  /** Why no node will have room; a shape may be forgotten in a search after it. */
  readonly hopeless?: string | undefined;
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
      let left = pending.length;
      const tasks = admitted(round, ranked, context.shares);
      // what was freed for them is nobody else's
      const promised = tasks.filter(({ id }) => context.promised.has(id));
      for (const task of promised) settle(round, task, settings, promisedTo(board, task, context));
      const others = promised.length === 0 ? tasks : tasks.filter(({ id }) => !context.promised.has(id));
      for (const run of runsOf(others, context.now, settings.agingMs)) {
        if (context.search === undefined || run.length < 2) for (const task of run) settle(round, task, settings);
        else settleBetter(round, run, settings, context.search, run.length / left);
        left -= run.length;
      }
      const asking = round.unplaced.filter(({ task, why }) => why === undefined && task.preempts === true);
      const preemptions = preempt(board, asking, context.shares, settings.maxPreemptions);
      return {
        launches: round.launches,
        waiting: explainAll(board, round.unplaced, preemptions, settings, context),
        preemptions,
      };
    },
  };
}

/** Tasks in the order in which they choose, without those whose quota is used up. */
function admitted({ unplaced }: Round, ranked: readonly PendingTask[], shares: FairShares): PendingTask[] {
  const tasks: PendingTask[] = [];
  for (const task of inTurn(ranked, shares)) {
    const why = shares.whyNot(roleOf(task), task.needs.scalars);
    if (why === undefined) {
      shares.grant(roleOf(task), task.needs.scalars);
      tasks.push(task);
    } else unplaced.push({ task, choice: undefined, why });
  }
  return tasks;
}

/** Settles a run, looks for a better plan of it within `part` of what is left of the budget, and keeps the one that ends first. */
function settleBetter(
  round: Round,
  run: readonly PendingTask[],
  settings: SchedulerSettings,
  search: Search,
  part: number,
): void {
  const { board } = round;
  const [restore, before] = [
    board.save(),
    { ...round, launches: round.launches.length, unplaced: round.unplaced.length },
  ];
  const back = () => {
    restore();
    round.launches.length = before.launches;
    round.unplaced.length = before.unplaced;
    round.places = before.places;
  };
  const settleAll = (nodes: ReadonlyMap<PendingTask, BoardNode>) => {
    const choices = run.map(task => ({ task, choice: settle(round, task, settings, nodes.get(task)) }));
    return choices.flatMap(({ task, choice }) => (choice === undefined ? [] : [{ task, choice }]));
  };
  const plain = settleAll(new Map());
  const begin = search.spent();
  if (begin >= 1 || plain.length < 2) return;
  const spent = () => (search.spent() - begin) / ((1 - begin) * part);
  back();
  const tasks = plain.map(({ task }) => task);
  const nodes = plain.map(({ choice }) => choice.node);
  const better = betterNodes(board, tasks, nodes, search, spent);
  if (better !== undefined) {
    const tried = settleAll(new Map(tasks.flatMap((task, i) => (better[i] === undefined ? [] : [[task, better[i]]]))));
    if (tried.length >= plain.length && isBetter(tried, plain, board.now)) return;
    back();
  }
  settleAll(new Map());
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

/** Launches the task, or keeps a place for it, or leaves it without; on `wanted` if it has a place there. */
function settle(
  round: Round,
  task: PendingTask,
  { maxReservations }: SchedulerSettings,
  wanted?: BoardNode,
): Choice | undefined {
  const { board } = round;
  const shape = board.shapeOf(task);
  const onWanted = wanted && placeOn(board, task, shape, wanted);
  const choice = onWanted ?? (shape.hopeless === undefined ? chooseNode(board, task, shape) : undefined);
  const launch = choice?.startAt === board.now ? launchOn(board, task, choice) : undefined;
  if (choice !== undefined && launch !== undefined) {
    round.launches.push(launch);
    fetchOnce(shape, choice);
    return choice;
  }
  if (choice !== undefined && round.places > 0) {
    round.places--;
    reserve(choice.node.timeline, shape.need, choice.startAt, choice.holdMs);
    fetchOnce(shape, choice);
    round.unplaced.push({ task, choice });
    return choice;
  }
  const crowded = `waits behind ${maxReservations} tasks that keep a place`;
  shape.hopeless ??= choice === undefined ? explainNoRoom(board, task) : crowded;
  round.unplaced.push({ task, choice: undefined, hopeless: shape.hopeless });
  return undefined;
}

/** What one has fetched the next ones find there. */
function fetchOnce({ where }: Shape, { node, startAt, fetchMs }: Choice): void {
  if (fetchMs > 0 && !where.arrivals.has(node)) where.bring(node, startAt + fetchMs);
}

/** Takes the task's part of the node's offer; undefined when the offer does not hold it. */
function launchOn(board: Board, task: PendingTask, choice: Choice): Launch | undefined {
  const { node, startAt, endAt, fetchMs, holdMs } = choice;
  const taken = takeFor(task, node.left);
  if (node.offer === undefined || taken === undefined) return undefined;
  reserve(node.timeline, board.shapeOf(task).need, startAt, holdMs);
  node.left = subtractResources(node.left, taken.resources);
  board.enter(task, node);
  const expectedEndAt = task.type === 'service' ? null : endAt;
  return { offer: node.offer.id, task: task.id, ...taken, expectedEndAt, fetchMs };
}

/** The node that was freed for a task, as long as it takes tasks. */
function promisedTo(board: Board, { id }: PendingTask, { roster, promised }: SchedulingContext): BoardNode | undefined {
  const node = board.nodeAt(roster.indexOf(promised.get(id) ?? '') ?? -1);
  return node?.state.unavailable === undefined ? node : undefined;
}

function explainAll(
  board: Board,
  unplaced: readonly Unplaced[],
  preemptions: readonly Preemption[],
  { maxReasons, maxExplained }: SchedulerSettings,
  { explain: only, promised }: SchedulingContext,
): Waiting[] {
  const preempting = new Map(preemptions.map(each => [each.task, each]));
  const explain = explainerOf(board, only === undefined ? maxReasons : undefined);
  const isExplained = (id: string, index: number) => (only === undefined ? index < maxExplained : id === only);
  const whyOf = ({ task, choice, why, hopeless = '' }: Unplaced, index: number) => {
    if (why !== undefined) return isExplained(task.id, index) ? explainRefusal(board, task, why) : why;
    if (choice === undefined) return hopeless;
    return explainWait(board, choice, promised.get(task.id) === choice.node.state.id);
  };
  return unplaced.map((each, index) => {
    const { task, choice, why } = each;
    const { id } = task;
    const reasons = isExplained(id, index) ? explain(task, choice, why) : [];
    const preemption = preempting.get(id);
    if (preemption !== undefined) {
      const { node, startAt, endAt } = preemption;
      return { task: id, why: explainPreemption(preemption), reasons, expected: { node, startAt, endAt } };
    }
    const expected = choice === undefined ? null : expectedOf(task, choice);
    return { task: id, why: whyOf(each, index), reasons, expected };
  });
}

function expectedOf({ type }: PendingTask, { node, startAt, endAt }: Choice): Waiting['expected'] {
  return { node: node.state.id, startAt, endAt: type === 'service' ? null : endAt };
}

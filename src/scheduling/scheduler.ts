import { minuteMs } from '../base/clock.ts';
import { nodePorts, type Resources, rangesOf, subtractResources, takeFromRanges } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { betterNodes } from './batch-run.ts';
import { type Board, makeBoard } from './board.ts';
import type { BoardNode } from './board-node.ts';
import { explainerOf, explainNoRoom, explainRefusal, explainWait } from './explain.ts';
import type { FairShares } from './fairness.ts';
import type { Launch, Scheduler, SchedulingContext, Search, Waiting } from './offers.ts';
import type { PendingTask } from './pending.ts';
import { type Choice, chooseNode, placeOn } from './placement.ts';
import { effectivePriority, type RankSettings, rankPending } from './rank.ts';
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

/** So many milliseconds at most go into making the plan of a batch shorter. */
export const defaultSearchMs = 120;

interface Unplaced {
  readonly task: PendingTask;
  readonly choice: Choice | undefined;
  /** Where it is not about nodes. */
  readonly why?: string | undefined;
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
      for (const run of runsOf(admitted(round, ranked, context.shares), context, settings)) {
        if (context.search === undefined || run.length < 2) for (const task of run) settle(round, task, settings);
        else settleBetter(round, run, settings, context.search, run.length / left);
        left -= run.length;
      }
      return {
        launches: round.launches,
        waiting: explainAll(board, round.unplaced, settings, context.explain),
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

/** Tasks that follow each other and may change places without harm to anybody: batch tasks of one role and priority. */
function runsOf(
  tasks: readonly PendingTask[],
  { now }: SchedulingContext,
  { agingMs }: SchedulerSettings,
): PendingTask[][] {
  const runs: PendingTask[][] = [];
  let last = '';
  for (const task of tasks) {
    const isBatch = task.type === 'batch' && task.strategy === 'completionTime' && task.togetherWith === undefined;
    const key = isBatch ? `${roleOf(task)} ${effectivePriority(task, now, agingMs)}` : '';
    const run = runs.at(-1);
    if (run !== undefined && key !== '' && key === last) run.push(task);
    else runs.push([task]);
    last = key;
  }
  return runs;
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
    if (tried.length >= plain.length && lastEnd(tried) < lastEnd(plain)) return;
    back();
  }
  settleAll(new Map());
}

function lastEnd(choices: readonly { readonly choice: Choice }[]): number {
  return choices.reduce((last, { choice }) => Math.max(last, choice.endAt), 0);
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
  if (launch !== undefined) {
    round.launches.push(launch);
    return choice;
  }
  if (choice !== undefined && round.places > 0) {
    round.places--;
    reserve(choice.node.timeline, shape.need, choice.startAt, choice.holdMs);
    round.unplaced.push({ task, choice });
    return choice;
  }
  const crowded = `waits behind ${maxReservations} tasks that keep a place`;
  shape.hopeless ??= choice === undefined ? explainNoRoom(board, task) : crowded;
  round.unplaced.push({ task, choice: undefined });
  return undefined;
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
  board.enter(task, node);
  const expectedEndAt = task.type === 'service' ? null : endAt;
  return { offer: node.offer.id, task: task.id, resources, ports, expectedEndAt };
}

function explainAll(
  board: Board,
  unplaced: readonly Unplaced[],
  { maxReasons, maxExplained }: SchedulerSettings,
  only: string | undefined,
): Waiting[] {
  const explain = explainerOf(board, only === undefined ? maxReasons : undefined);
  const isExplained = (id: string, index: number) => (only === undefined ? index < maxExplained : id === only);
  const whyOf = ({ task, choice, why }: Unplaced, index: number) => {
    if (why !== undefined) return isExplained(task.id, index) ? explainRefusal(board, task, why) : why;
    return choice === undefined ? (board.shapeOf(task).hopeless ?? '') : explainWait(board, choice);
  };
  return unplaced.map(({ task, choice, why }, index) => ({
    task: task.id,
    why: whyOf({ task, choice, why }, index),
    reasons: isExplained(task.id, index) ? explain(task, choice, why) : [],
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

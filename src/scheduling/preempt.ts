import { addResources, type Resources, subtractResources } from '../model/resources.ts';
import { defaultRole } from '../model/role.ts';
import { type Board, type Shape, takesMs } from './board.ts';
import type { BoardNode } from './board-node.ts';
import type { FairShares } from './fairness.ts';
import { unmetNeeds, unmetNeighbours } from './feasible.ts';
import type { Holding, Preemption } from './offers.ts';
import type { PendingTask } from './pending.ts';
import { type Choice, isClosing } from './placement.ts';
import { takeFor } from './take.ts';

/** What a task holds that may be ended for one of a higher priority. */
export type Victim = Pick<Holding, 'task' | 'resources'> & NonNullable<Holding['yields']>;

/**
 * Who of `holders` has to go so that `fits` holds of what is free then: those of the lowest priority, of these the youngest, all
 * below `priority`, and none that the others make superfluous. `mayGo` says whether such a set is allowed to. Undefined when no set is enough.
 */
export function chooseVictims(input: {
  readonly holders: readonly Victim[];
  readonly priority: number;
  readonly free: Resources;
  readonly fits: (free: Resources) => boolean;
  readonly mayGo: (victims: readonly Victim[]) => boolean;
}): readonly Victim[] | undefined {
  const { holders, priority, fits, mayGo } = input;
  let { free } = input;
  let victims: readonly Victim[] = [];
  for (const holder of holders.filter(each => each.priority < priority).sort(leastFirst)) {
    if (fits(free)) break;
    if (!mayGo([...victims, holder])) continue;
    victims = [...victims, holder];
    free = addResources(free, holder.resources);
  }
  if (!fits(free)) return undefined;
  // a larger one that came later may be enough without those before it
  for (const holder of [...victims].reverse()) {
    const without = subtractResources(free, holder.resources);
    if (!fits(without)) continue;
    free = without;
    victims = victims.filter(each => each !== holder);
  }
  return victims;
}

/** The least important in front: of the lowest priority, then the one that loses least. */
function leastFirst(a: Victim, b: Victim): number {
  return a.priority - b.priority || ageOf(b) - ageOf(a) || (a.task < b.task ? -1 : Number(a.task > b.task));
}

function ageOf({ startedAt }: Victim): number {
  return startedAt ?? Number.POSITIVE_INFINITY;
}

interface Found {
  readonly node: BoardNode;
  readonly victims: readonly Victim[];
  readonly free: Resources;
}

/**
 * Makes room for tasks that ask for it and have no place now, in their order and for at most `limit` of them, each on the node where
 * the least is lost: the lowest priority, then the fewest tasks, then the first node. Nobody is ended for a place that would come as soon anyway.
 */
export function preempt(
  board: Board,
  waiting: readonly { readonly task: PendingTask; readonly choice: Choice | undefined }[],
  shares: FairShares,
  limit: number,
): Preemption[] {
  const preemptions: Preemption[] = [];
  /** What a node will have free beyond those that go. */
  const freeOf = new Map<BoardNode, Resources>();
  const gone: Victim[] = [];
  const inVain = new Map<Shape, number>();
  for (const { task, choice } of waiting) {
    if (preemptions.length >= limit) break;
    const shape = board.shapeOf(task);
    if (task.preempts !== true || task.priority <= (inVain.get(shape) ?? -1)) continue;
    const found = cheapest(board, task, shape, { freeOf, gone, shares });
    if (found === undefined) {
      inVain.set(shape, task.priority);
      continue;
    }
    const { node, victims, free } = found;
    const startAt = board.now + victims.reduce((most, { graceMs }) => Math.max(most, graceMs), 0);
    if (choice !== undefined && choice.startAt <= startAt) continue;
    const taken = takeFor(task, free);
    freeOf.set(node, taken === undefined ? free : subtractResources(free, taken.resources));
    gone.push(...victims);
    const endAt = task.type === 'service' ? null : startAt + takesMs(shape, node);
    preemptions.push({ task: task.id, node: node.state.id, victims: victims.map(each => each.task), startAt, endAt });
  }
  return preemptions;
}

interface Lost {
  readonly freeOf: ReadonlyMap<BoardNode, Resources>;
  readonly gone: readonly Victim[];
  readonly shares: FairShares;
}

function cheapest(board: Board, task: PendingTask, shape: Shape, lost: Lost): Found | undefined {
  const { freeOf, gone, shares } = lost;
  const ended = new Set(gone.map(each => each.task));
  const { priority } = task;
  let best: Found | undefined;
  for (const node of shape.where.nodes) {
    const { total, holdings } = node.state;
    const holders = holdings.flatMap(({ task: id, resources, yields }) =>
      yields === undefined || ended.has(id) ? [] : [{ task: id, resources, ...yields }],
    );
    if (holders.length === 0 || isClosing(node, board.now + takesMs(shape, node))) continue;
    if (unmetNeighbours(task, node.neighbours).length > 0) continue;
    const free = freeOf.get(node) ?? node.left;
    const fits = (left: Resources) => unmetNeeds(task, { total, free: left }).length === 0;
    const mayGo = (victims: readonly Victim[]) => shares.mayLose([...gone, ...victims].map(lossOf));
    const victims = chooseVictims({ holders, priority, free, fits, mayGo });
    // a place without victims is kept for somebody ahead
    if (victims === undefined || victims.length === 0) continue;
    const found = { node, victims, free: victims.reduce((sum, { resources }) => addResources(sum, resources), free) };
    if (best === undefined || isLess(found, best)) best = found;
  }
  return best;
}

function lossOf({ role = defaultRole, resources }: Victim) {
  return { role, scalars: resources.scalars };
}

function isLess({ victims: a }: Found, { victims: b }: Found): boolean {
  const [highestA, highestB] = [a, b].map(some => some.reduce((most, { priority }) => Math.max(most, priority), 0));
  return (highestA ?? 0) - (highestB ?? 0) < 0 || (highestA === highestB && a.length < b.length);
}

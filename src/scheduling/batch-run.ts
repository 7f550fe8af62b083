import { type Board, type Shape, takesMs } from './board.ts';
import type { BoardNode } from './board-node.ts';
import { assignInOrder, type Batch, improve, makespanOf } from './improve.ts';
import type { Search } from './offers.ts';
import type { PendingTask } from './pending.ts';
import type { Vector } from './vector.ts';

/** The largest table of times that the search looks at: 8 MiB. */
export const maxSearchCells = 1_048_576;
/** A gain of less is not worth another plan. */
const leastGain = 0.001;

/**
 * Looks for better nodes for tasks that follow each other in the order of choice, `now` being on `chosen`. The search sees a node as one
 * queue, in which a task takes its time by the number of its like that run there at once; whether what it finds holds on the real
 * timelines is for the caller to see. Undefined when nothing better was found.
 */
export function betterNodes(
  board: Board,
  tasks: readonly PendingTask[],
  chosen: readonly BoardNode[],
  search: Search,
  spent: () => number,
): BoardNode[] | undefined {
  const shapes = tasks.map(task => board.shapeOf(task));
  const nodes = [
    ...new Set(shapes.flatMap(({ where }) => (where.size * tasks.length > maxSearchCells ? [] : where.nodes))),
  ];
  const [example] = shapes;
  if (nodes.length < 2 || example === undefined || nodes.length * tasks.length > maxSearchCells) return undefined;
  const indexOf = new Map(nodes.map((node, index) => [node, index]));
  const batch: Batch = {
    tasks: tasks.length,
    nodes: nodes.length,
    base: Float64Array.from(nodes.map(node => busyMs(board, node, example.need))),
    time: timesOf(shapes, nodes, indexOf),
  };
  const plain = Int32Array.from(chosen.map(node => indexOf.get(node) ?? 0));
  const earlier = Int32Array.from(tasks.map(({ id }, i) => earlierOf(search, id, nodes, batch, i) ?? plain[i] ?? 0));
  const [start = plain] = [plain, earlier, assignInOrder(batch)].sort(
    (a, b) => makespanOf(batch, a) - makespanOf(batch, b),
  );
  const found = improve(batch, start, search.dice, spent);
  if (makespanOf(batch, found) > (1 - leastGain) * makespanOf(batch, plain)) return undefined;
  return [...found].map((node, i) => nodes[node] ?? chosen[i]).filter(node => node !== undefined);
}

/** Where an earlier round meant it to go, if it still may. */
function earlierOf({ earlier }: Search, task: string, nodes: readonly BoardNode[], batch: Batch, index: number) {
  const id = earlier(task);
  const node = id === undefined ? -1 : nodes.findIndex(({ state }) => state.id === id);
  return node >= 0 && Number.isFinite(batch.time[index * batch.nodes + node]) ? node : undefined;
}

function timesOf(
  shapes: readonly Shape[],
  nodes: readonly BoardNode[],
  indexOf: ReadonlyMap<BoardNode, number>,
): Float64Array {
  const time = new Float64Array(shapes.length * nodes.length).fill(Number.POSITIVE_INFINITY);
  const ofShape = new Map<Shape, Float64Array>();
  for (const [task, shape] of shapes.entries()) {
    const row = ofShape.get(shape) ?? rowOf(shape, nodes.length, indexOf);
    ofShape.set(shape, row);
    time.set(row, task * nodes.length);
  }
  return time;
}

function rowOf(shape: Shape, count: number, indexOf: ReadonlyMap<BoardNode, number>): Float64Array {
  const row = new Float64Array(count).fill(Number.POSITIVE_INFINITY);
  for (const node of shape.where.nodes) {
    const at = indexOf.get(node);
    const slots = slotsIn(node.timeline.free.at(-1) ?? [], shape.need);
    if (at !== undefined && slots > 0) row[at] = takesMs(shape, node) / slots;
  }
  return row;
}

/** How long the node is taken by what it has, its part that is free counted as such. */
function busyMs({ now }: Board, { timeline }: BoardNode, need: Vector): number {
  const { times, free } = timeline;
  const all = slotsIn(free.at(-1) ?? [], need);
  if (all === 0) return 0;
  let busy = 0;
  for (let i = 0; i + 1 < times.length; i++) {
    const lasts = (times[i + 1] ?? now) - (times[i] ?? now);
    busy += lasts * (1 - Math.min(1, slotsIn(free[i] ?? [], need) / all));
  }
  return busy;
}

/** So many of the need fit at once; a task that needs nothing shares with 1000. */
function slotsIn(free: Vector, need: Vector): number {
  let slots = 1000;
  for (let i = 0; i < need.length; i++) {
    const amount = need[i] ?? 0;
    if (amount > 0) slots = Math.min(slots, Math.floor((free[i] ?? 0) / amount));
  }
  return Math.max(0, slots);
}

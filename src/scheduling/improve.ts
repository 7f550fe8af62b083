import type { Random } from '../base/random.ts';

/** A batch of tasks on nodes that work on one thing at a time: what the local search looks at. */
export interface Batch {
  readonly tasks: number;
  readonly nodes: number;
  /** When each node is through with what it has. */
  readonly base: Float64Array;
  /** `time[task * nodes + node]`: how long a task keeps a node busy; Infinity where it may not go. */
  readonly time: Float64Array;
}

/** The longest first, each where it ends first: where the search begins. `order` is that of the tasks. */
export function assignInOrder({ tasks, nodes, base, time }: Batch): Int32Array {
  const load = Float64Array.from(base);
  const assigned = new Int32Array(tasks);
  for (let task = 0; task < tasks; task++) {
    let best = 0;
    let bestEnd = Number.POSITIVE_INFINITY;
    for (let node = 0; node < nodes; node++) {
      const end = (load[node] ?? 0) + (time[task * nodes + node] ?? 0);
      if (end < bestEnd) {
        bestEnd = end;
        best = node;
      }
    }
    assigned[task] = best;
    load[best] = bestEnd;
  }
  return assigned;
}

/** The largest sum of what a node has and is given. */
export function makespanOf(batch: Batch, assigned: Int32Array): number {
  return largest(loadsOf(batch, assigned));
}

/** Steps between two looks at what is left of the budget. */
const stepsPerLook = 1024;
/** -ln of numbers spread evenly over 0 to 1: whether something worse is taken is decided by one of them, which costs less than `Math.exp`. */
const bars = Float64Array.from({ length: 4096 }, (_, i) => -Math.log((i + 0.5) / 4096));
const whole = 2 ** 32;
/** How much worse, as part of the cost of the critical node, is taken: at first, and in the end. */
const [hot, cold] = [0.3, 0.01] as const;

/**
 * Improves an assignment by simulated annealing: a task moves, or two change places, and what makes the busiest nodes less busy
 * stays; the cost of a node is its load to the power of 32, which the critical node rules and the next ones smooth. Ends when
 * `spent` (0 to 1) says so; what it returns is never worse than `start`. Equal dice and equal `spent` give an equal result.
 */
export function improve(batch: Batch, start: Int32Array, dice: Random, spent: () => number): Int32Array {
  const { tasks, nodes, time } = batch;
  const assigned = Int32Array.from(start);
  const best = Int32Array.from(start);
  const load = loadsOf(batch, assigned);
  let bestMakespan = largest(load);
  const cost = new Float64Array(nodes);
  let scale = rescale(load, cost);
  let warmth: number = hot;
  /** Nodes that end no sooner than the best assignment: where there is none this one is better. */
  let over = nodesFrom(load, bestMakespan);
  /** The dice seed it (xorshift32, in place): a call of them would cost as much as the rest of a step. */
  let bits = Math.floor(dice() * whole) | 1;

  for (let step = 0; ; step++) {
    if (step % stepsPerLook === 0) {
      const part = spent();
      if (part >= 1 || tasks === 0 || nodes < 2) return best;
      warmth = hot * (cold / hot) ** part;
      if (step % (8 * stepsPerLook) === 0) scale = rescale(load, cost);
    }
    bits ^= bits << 13;
    bits ^= bits >>> 17;
    bits ^= bits << 5;
    const a = Math.floor(((bits >>> 0) * tasks) / whole);
    const from = assigned[a] ?? 0;
    bits ^= bits << 13;
    bits ^= bits >>> 17;
    bits ^= bits << 5;
    // a move, or a swap with a task of another node
    const isMove = (bits & 1) === 0;
    const b = isMove ? -1 : Math.floor(((bits >>> 0) * tasks) / whole);
    const to = isMove ? Math.floor(((bits >>> 0) * nodes) / whole) : (assigned[b] ?? 0);
    if (from === to) continue;
    const row = b * nodes;
    const loadFrom = (load[from] ?? 0) - (time[a * nodes + from] ?? 0) + (b < 0 ? 0 : (time[row + from] ?? 0));
    const loadTo = (load[to] ?? 0) + (time[a * nodes + to] ?? 0) - (b < 0 ? 0 : (time[row + to] ?? 0));
    const costFrom = power(loadFrom / scale);
    const costTo = power(loadTo / scale);
    const worse = costFrom + costTo - (cost[from] ?? 0) - (cost[to] ?? 0);
    if (!(worse <= warmth * (bars[(bits >>> 1) & 4095] ?? 0))) continue;
    over += countFrom(loadFrom, loadTo, bestMakespan) - countFrom(load[from] ?? 0, load[to] ?? 0, bestMakespan);
    load[from] = loadFrom;
    load[to] = loadTo;
    cost[from] = costFrom;
    cost[to] = costTo;
    assigned[a] = to;
    if (b >= 0) assigned[b] = from;
    if (over > 0) continue;
    bestMakespan = largest(load);
    best.set(assigned);
    over = nodesFrom(load, bestMakespan);
  }
}

function loadsOf({ tasks, nodes, base, time }: Batch, assigned: Int32Array): Float64Array {
  const load = Float64Array.from(base);
  for (let task = 0; task < tasks; task++) {
    const node = assigned[task] ?? 0;
    load[node] = (load[node] ?? 0) + (time[task * nodes + node] ?? 0);
  }
  return load;
}

function countFrom(a: number, b: number, limit: number): number {
  return Number(a >= limit) + Number(b >= limit);
}

function nodesFrom(load: Float64Array, limit: number): number {
  return load.reduce((count, each) => count + Number(each >= limit), 0);
}

/** Costs beside the critical node of now, whose load it returns. */
function rescale(load: Float64Array, cost: Float64Array): number {
  const scale = largest(load) || 1;
  for (let node = 0; node < load.length; node++) cost[node] = power((load[node] ?? 0) / scale);
  return scale;
}

function largest(values: Float64Array): number {
  let most = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (value > most) most = value;
  }
  return most;
}

/** To the power of 32. */
function power(value: number): number {
  const two = value * value;
  const four = two * two;
  const eight = four * four;
  const sixteen = eight * eight;
  return sixteen * sixteen;
}

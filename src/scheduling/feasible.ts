import type { Affinity, Constraint } from '../model/job.ts';
import { countInRanges, fromMilli, isInRanges, nodePorts, printScalar, type Resources } from '../model/resources.ts';
import { taskSlots } from '../model/task-slots.ts';
import { jobKey, type PendingTask } from './pending.ts';

type Attributes = Readonly<Record<string, string>>;

/** Why a node with `attributes` is not wanted ("label zone=a wanted, has zone=b"), one sentence a constraint; empty when it is. */
export function unmetConstraints(constraints: readonly Constraint[], attributes: Attributes): string[] {
  return constraints.flatMap(constraint => unmet(constraint, attributes) ?? []);
}

/**
 * Why the needs do not fit, one sentence a resource: "needs 8 cpus, has 4 cpus in all" where they never will, "needs 512 MB
 * mem, has 388 MB mem free" where they do not now; empty when they fit in what is free.
 */
export function unmetNeeds(
  task: Pick<PendingTask, 'needs' | 'portCount' | 'nodePorts'>,
  node: { readonly total: Resources; readonly free: Resources },
): string[] {
  const { total, free } = node;
  const missing: string[] = [];
  for (const [name, amount] of Object.entries(task.needs.scalars)) {
    const [has, left] = [total.scalars[name] ?? 0, free.scalars[name] ?? 0];
    if (amount <= left) continue;
    const isFull = name === taskSlots && amount <= has;
    const why = shortage(printScalar(name, amount), amount > has, value => printScalar(name, value), has, left);
    missing.push(isFull ? explainFull(has, left) : why);
  }
  const [ports, left] = [countInRanges(total.ranges.ports ?? []), countInRanges(free.ranges.ports ?? [])];
  if (task.portCount > left)
    missing.push(shortage(`${task.portCount} ports`, task.portCount > ports, String, ports, left));
  for (const port of task.nodePorts ?? []) {
    if (!isInRanges(port, total.ranges[nodePorts] ?? [])) missing.push(`needs port ${port}, which it does not offer`);
    else if (!isInRanges(port, free.ranges[nodePorts] ?? [])) missing.push(`needs port ${port}, not free`);
  }
  for (const [set, words] of Object.entries(task.needs.sets)) {
    for (const word of words) {
      if (total.sets[set]?.includes(word) !== true) missing.push(`needs ${set} ${word}, has none`);
      else if (free.sets[set]?.includes(word) !== true) missing.push(`needs ${set} ${word}, not free`);
    }
  }
  return missing;
}

/** The sum of the weights of the wishes that a node fulfils. */
export function affinityScore(affinities: readonly Affinity[], attributes: Attributes): number {
  let score = 0;
  for (const { weight, ...constraint } of affinities) if (unmet(constraint, attributes) === undefined) score += weight;
  return score;
}

const noReasons: readonly string[] = [];

/** Why the tasks that a node has do not go with this one, one sentence a rule; empty when they do. */
export function unmetNeighbours(
  task: PendingTask,
  { instances, shunned }: { readonly instances: ReadonlyMap<string, number>; readonly shunned: ReadonlySet<string> },
): readonly string[] {
  const { maxPerNode, apartFrom, togetherWith } = task;
  if (maxPerNode === undefined && apartFrom === undefined && togetherWith === undefined && shunned.size === 0)
    return noReasons;
  const why: string[] = [];
  const own = instances.get(jobKey(task)) ?? 0;
  if (maxPerNode !== undefined && own >= maxPerNode) why.push(`has ${own} of the job, at most ${maxPerNode} wanted`);
  for (const job of apartFrom ?? []) if ((instances.get(job) ?? 0) > 0) why.push(`has a task of ${job}, to be apart`);
  for (const job of togetherWith ?? []) if ((instances.get(job) ?? 0) === 0) why.push(`has no task of ${job} yet`);
  if (shunned.has(jobKey(task))) why.push('has a task that is to be apart from it');
  return why;
}

/** Nearly all tasks take one slot, see `taskSlots`. */
function explainFull(has: number, left: number): string {
  const [slots, free] = [fromMilli(has), fromMilli(left)];
  return `its tasks take ${slots - free} slots, has no more than ${slots}`;
}

function shortage(need: string, never: boolean, print: (n: number) => string, has: number, left: number): string {
  return `needs ${need}, has ${never ? `${print(has)} in all` : `${print(left)} free`}`;
}

function unmet({ attribute, operator, values }: Constraint, attributes: Attributes): string | undefined {
  const value = Object.hasOwn(attributes, attribute) ? attributes[attribute] : undefined;
  switch (operator) {
    case 'in':
      if (value !== undefined && values.includes(value)) return undefined;
      return `label ${attribute}=${values.join(' or ')} wanted, has ${value === undefined ? 'none' : `${attribute}=${value}`}`;
    case 'notIn':
      return value !== undefined && values.includes(value) ? `label ${attribute}=${value} not wanted` : undefined;
    case 'exists':
      return value === undefined ? `label ${attribute} wanted, has none` : undefined;
    case 'doesNotExist':
      return value !== undefined ? `label ${attribute} not wanted, has ${attribute}=${value}` : undefined;
    default:
      return operator satisfies never;
  }
}

import { secondMs } from '../../src/base/clock.ts';
import { checkLedger } from '../../src/scheduling/check-ledger.ts';
import { type Estimates, learn } from '../../src/scheduling/estimates.ts';
import { applyEvents, type Ledger } from '../../src/scheduling/ledger.ts';
import type { Scheduler } from '../../src/scheduling/offers.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import { planRound, type RunningTask } from '../../src/scheduling/plan.ts';
import { makeRoster, type SchedulingNode } from '../../src/scheduling/roster.ts';

/** A fleet on a simulated clock: tasks arrive at their `submittedAt` and take `actualMs`, which the scheduler is not told. */
export interface Simulation {
  readonly nodes: readonly SchedulingNode[];
  readonly ledger: Ledger;
  readonly tasks: readonly PendingTask[];
  readonly estimates: Estimates;
  readonly scheduler: Scheduler;
  actualMs(task: PendingTask, node: SchedulingNode): number;
}

export interface Run {
  readonly node: string;
  readonly startAt: number;
  readonly endAt: number;
}

export interface Outcome {
  readonly runs: ReadonlyMap<string, Run>;
  /** What the completions taught. */
  readonly estimates: Estimates;
  readonly ledger: Ledger;
  readonly rounds: number;
  /** From the first arrival to the last end. */
  readonly makespanMs: number;
}

/** Runs until every task has ended; throws when the ledger is not whole after a round, or when nothing moves any more. */
export function simulate({ nodes, tasks, scheduler, actualMs, ...start }: Simulation): Outcome {
  const arriving = [...tasks].sort((a, b) => b.submittedAt - a.submittedAt);
  const byId = new Map(tasks.map(task => [task.id, task]));
  const nodeOf = new Map(nodes.map(node => [node.id, node]));
  const roster = makeRoster(nodes);
  const runs = new Map<string, Run>();
  const running = new Map<string, RunningTask>();
  let { ledger, estimates } = start;
  let pending: PendingTask[] = [];
  let rounds = 0;
  const first = arriving.at(-1)?.submittedAt ?? 0;
  let now = first;

  while (runs.size < tasks.length || running.size > 0) {
    for (const [id, { endAt, startAt, node: nodeId }] of runs) {
      const [task, node] = [byId.get(id), nodeOf.get(nodeId)];
      if (!running.has(id) || endAt > now || task === undefined || node === undefined) continue;
      ledger = applyEvents(ledger, [{ type: 'TaskEnded', task: id }]).ledger;
      running.delete(id);
      estimates = learn(estimates, { ...node, class: task.class, durationMs: endAt - startAt });
    }
    while ((arriving.at(-1)?.submittedAt ?? Number.POSITIVE_INFINITY) <= now) pending.push(...arriving.splice(-1));

    const plan = planRound(
      { round: `${rounds++}`, now, ledger, roster, pending, running, estimates, policies: new Map() },
      scheduler,
    );
    ledger = plan.ledger;
    const faults = [...checkLedger(ledger), ...plan.refused.map(({ why }) => why)];
    if (faults.length > 0) throw new Error(faults.join('; '));
    for (const launch of plan.launches) {
      const [task, node] = [byId.get(launch.task), nodeOf.get(launch.node)];
      if (task === undefined || node === undefined) throw new Error(`${launch.task} on ${launch.node} is unknown`);
      runs.set(task.id, { node: node.id, startAt: now, endAt: now + actualMs(task, node) });
      running.set(task.id, { ...task, startedAt: now });
    }
    pending = pending.filter(({ id }) => !runs.has(id));

    const ends = [...running.keys()].map(id => runs.get(id)?.endAt ?? Number.POSITIVE_INFINITY);
    const moments = [...ends, arriving.at(-1)?.submittedAt, plan.replanAt].filter(moment => typeof moment === 'number');
    if (moments.length === 0 && running.size + pending.length > 0) throw new Error(`${pending.length} tasks are stuck`);
    if (rounds > 100 * tasks.length + 1000) throw new Error('it does not come to an end');
    now = moments.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  }
  const last = [...runs.values()].reduce((end, { endAt }) => Math.max(end, endAt), first);
  return { runs, estimates, ledger, rounds, makespanMs: Math.max(secondMs, last - first) };
}

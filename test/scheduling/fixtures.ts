import { type Range, type Resources, toMilli } from '../../src/model/resources.ts';
import { noEstimates } from '../../src/scheduling/estimates.ts';
import { applyEvents, emptyLedger, type Ledger } from '../../src/scheduling/ledger.ts';
import type { PendingTask } from '../../src/scheduling/pending.ts';
import type { RoundInput } from '../../src/scheduling/plan.ts';
import { makeRoster, type SchedulingNode } from '../../src/scheduling/roster.ts';

/** Any moment. */
export const noon = Date.UTC(2030, 0, 1, 12);

export function amounts(cpus: number, mem = 0, ports: readonly Range[] = []): Resources {
  return {
    scalars: { cpus: toMilli(cpus), mem: toMilli(mem) },
    ranges: ports.length === 0 ? {} : { ports },
    sets: {},
  };
}

export function aNode(id: string, more: Partial<SchedulingNode> = {}): SchedulingNode {
  return { id, hostname: id, attributes: { node: id, ...more.attributes }, profile: 'board', speed: 1, ...more };
}

/** A batch task of one core that came at noon. */
export function aTask(id: string, more: Partial<PendingTask> = {}): PendingTask {
  return {
    id,
    job: 'job',
    namespace: 'default',
    type: 'batch',
    class: 'default/job',
    priority: 50,
    needs: amounts(1, 64),
    portCount: 0,
    constraints: [],
    strategy: 'completionTime',
    submittedAt: noon,
    order: 0,
    ...more,
  };
}

export function ledgerOf(totals: Readonly<Record<string, Resources>>): Ledger {
  const events = Object.entries(totals).map(([node, total]) => ({ type: 'NodeRegistered' as const, node, total }));
  return applyEvents(emptyLedger, events).ledger;
}

/** A round at noon in which nothing is known but nodes and tasks. */
export function aRound(
  nodes: readonly SchedulingNode[],
  pending: readonly PendingTask[],
  more: Partial<RoundInput> & Pick<RoundInput, 'ledger'>,
): RoundInput {
  return {
    round: '1',
    now: noon,
    roster: makeRoster(nodes),
    pending,
    running: new Map(),
    estimates: noEstimates,
    policies: new Map(),
    ...more,
  };
}
